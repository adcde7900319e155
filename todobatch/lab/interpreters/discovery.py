"""Find the interpreters of this machine. Each candidate is run, so each is proved to work.

When several fit a spec, the first of this order is chosen (`preference`):

1. a release build before a debug build;
2. a profile-guided build before a plain one, then a link-time optimised one before others,
   because people run such builds;
3. by origin: todobatch's own cache, uv's folder, the running interpreter, PATH;
4. the newer version; then the path, so that the choice is always the same.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from todobatch.errors import InterpreterMissingError
from todobatch.files import expanded, is_file, is_folder
from todobatch.lab.interpreters.cache import cache_dir
from todobatch.lab.interpreters.commands import run_bounded
from todobatch.lab.interpreters.proof import NotAnInterpreterError, prove
from todobatch.lab.interpreters.specs import (
    OLDEST_FREE_THREADED,
    OLDEST_PYTHON,
    SPECS,
    check_spec,
    is_named_for,
    is_path,
    spec_of,
    version_numbers,
)
from todobatch.runtime import RuntimeFacts

Origin: TypeAlias = Literal["running", "PATH", "uv", "cache", "path"]

_ORIGIN_RANK: dict[Origin, int] = {"path": 0, "cache": 1, "uv": 2, "running": 3, "PATH": 4}

# Differences between builds besides the GIL, and the fact that shows each.
_COMPARED = {
    "version": "version",
    "profile-guided optimisation": "optimized_build",
    "link-time optimisation": "lto_build",
    "debug build": "debug_build",
    "compiler": "compiler",
}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter that was run and reported its facts."""

    spec: str
    """The version, ``'3.14'`` or ``'3.14t'``, or the path that was asked for."""
    executable: Path
    facts: RuntimeFacts
    origin: Origin


@dataclass(frozen=True, slots=True)
class Broken:
    """A candidate that exists and cannot be used, with the reason."""

    executable: Path
    origin: Origin
    reason: str


class Survey(NamedTuple):
    """All interpreters that were found."""

    working: list[Interpreter]
    """Working interpreters, preferred ones first. A build with several names is listed once."""
    broken: list[Broken]
    misnamed: list[Broken]
    """Working interpreters whose version differs from the file's name."""


class _Candidate(NamedTuple):
    executable: Path
    origin: Origin


def find(spec: str) -> Interpreter:
    """Return the preferred interpreter for a spec such as '3.14t', or the one at a path.

    Raises InterpreterMissingError when none works, and UsageError for a spec that means nothing.
    """
    if is_path(spec):
        return _at_path(spec)
    check_spec(spec)
    found = look_for([spec])
    for interpreter in found.working:
        if interpreter.spec == spec:
            return interpreter
    install = "todobatch interpreters install"
    others = f"`{install}` gets {', '.join(SPECS)}"
    raise InterpreterMissingError(
        _why_missing(spec, [*found.broken, *found.misnamed]),
        place=f"interpreter {spec}",
        remedy=f"{install} {spec}" if spec in SPECS else f"install it and name its path; {others}",
    )


def find_all(specs: Sequence[str]) -> list[Interpreter]:
    """Return one interpreter for each spec, built alike where that is possible.

    A comparison of a profile-guided 3.14 with a plain 3.14t would compare builds. So if every
    version has a build of the same kind (the same patch version and compiler, if possible), those
    are chosen. Otherwise each spec gets what `find` returns. Raises what `find` raises.
    """
    named = [spec for spec in specs if not is_path(spec)]
    for spec in named:
        check_spec(spec)
    working = look_for(named).working if named else []
    chosen = _alike(named, working)
    return [chosen.get(spec) or find(spec) for spec in specs]


def survey() -> Survey:
    """Find the interpreters of every known version on this machine."""
    return look_for(SPECS)


def own_executables() -> list[Path]:
    """Return every executable that may be an interpreter of this machine, without running any."""
    older = (f"3.{minor}" for minor in range(OLDEST_PYTHON[1], OLDEST_FREE_THREADED[1]))
    return [each.executable for each in _candidates([*older, *SPECS])]


def differences(a: Interpreter, b: Interpreter) -> list[str]:
    """Return the differences of two builds, besides the GIL, that make a comparison misleading."""
    found = []
    for label, key in _COMPARED.items():
        values = (cast("dict[str, Any]", one.facts)[key] for one in (a, b))
        ours, theirs = ({True: "yes", False: "no"}.get(value, value) for value in values)
        if ours != theirs:
            found.append(f"{label}: {ours} ({a.spec}), {theirs} ({b.spec})")
    return found


def preference(interpreter: Interpreter) -> tuple[object, ...]:
    """Return a sort key that puts the preferred interpreter first (see the module's docstring)."""
    facts = interpreter.facts
    return (
        facts["debug_build"],
        not facts["optimized_build"],
        not facts["lto_build"],
        _ORIGIN_RANK[interpreter.origin],
        tuple(-number for number in version_numbers(facts["version"])),
        str(interpreter.executable),
    )


def uv_executable() -> str | None:
    """Return the path of the uv that the extra ``lab`` installs, else of one on PATH, else None."""
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        return shutil.which("uv")


def look_for(specs: Iterable[str]) -> Survey:
    """Run every candidate for these specs, several at once."""
    from concurrent.futures import ThreadPoolExecutor

    candidates = list(dict.fromkeys(_candidates(specs)))
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="prove") as pool:
        answers = list(pool.map(_answer, candidates))
    proved = [answer for answer in answers if isinstance(answer, tuple)]
    working: dict[tuple[str, int, int], Interpreter] = {}
    for interpreter, prefix in sorted(proved, key=lambda each: preference(each[0])):
        # One file may have several names. A virtual environment has a prefix of its own.
        file = interpreter.executable.stat()
        working.setdefault((os.path.realpath(prefix), file.st_dev, file.st_ino), interpreter)
    broken = [answer for answer in answers if isinstance(answer, Broken)]
    misnamed = [
        Broken(candidate.executable, candidate.origin, f"it is {answer[0].facts['version']}")
        for candidate, answer in zip(candidates, answers, strict=True)
        if isinstance(answer, tuple) and not is_named_for(candidate.executable.name, answer[0].spec)
    ]
    return Survey(list(working.values()), broken, misnamed)


def _candidates(specs: Iterable[str]) -> Iterator[_Candidate]:
    yield _Candidate(Path(sys.executable), "running")
    own = cache_dir() / "interpreters"
    uv_folder = _uv_folder()
    for spec in specs:
        name = f"python{spec}"
        yield from (_Candidate(path, "cache") for path in sorted(own.glob(f"*/bin/{name}")))
        yield from (_Candidate(path, "cache") for path in sorted(own.glob(f"uv/*/bin/{name}")))
        if uv_folder is not None:
            yield from (_Candidate(path, "uv") for path in sorted(uv_folder.glob(f"*/bin/{name}")))
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            path = Path(folder or os.curdir, name)
            if path.is_file() and os.access(path, os.X_OK):
                yield _Candidate(path, "PATH")


def _uv_folder() -> Path | None:
    """Ask uv for the folder of the interpreters that it installed for the user."""
    uv = uv_executable()
    if uv is None:
        return None
    status, out, _ = run_bounded([uv, "python", "dir"], 10.0)
    return Path(out.strip()) if status == 0 and out.strip() else None


def _answer(candidate: _Candidate) -> tuple[Interpreter, str] | Broken:
    try:
        proof = prove(candidate.executable)
    except NotAnInterpreterError as error:
        return Broken(candidate.executable, candidate.origin, str(error))
    # A pyenv shim reports the real file, so samples start that and not a shell script.
    reported = Path(proof.facts["executable"])
    executable = reported if reported.is_file() else candidate.executable
    return (
        Interpreter(spec_of(proof.facts), executable, proof.facts, candidate.origin),
        proof.prefix,
    )


def _at_path(spec: str) -> Interpreter:
    # The link is not resolved, because its place makes the virtual environment.
    path = expanded(spec).absolute()
    remedy = "name the executable itself, such as .venv/bin/python"
    if "\0" in spec or not is_file(path):
        what = "it is a folder" if is_folder(path) else "there is no such file"
        raise InterpreterMissingError(what, place=spec, remedy=remedy)
    try:
        proof = prove(path)
    except NotAnInterpreterError as error:
        raise InterpreterMissingError(str(error), place=spec, remedy=remedy) from error
    return Interpreter(spec, path, proof.facts, "path")


def _alike(specs: Sequence[str], working: Sequence[Interpreter]) -> dict[str, Interpreter]:
    """Return one interpreter for each spec, all built alike; empty if that is impossible."""

    def build(interpreter: Interpreter) -> tuple[object, ...]:
        facts = interpreter.facts
        return facts["debug_build"], facts["optimized_build"], facts["lto_build"]

    def exactly(interpreter: Interpreter) -> tuple[object, ...]:
        patch = version_numbers(interpreter.facts["version"])[2:]
        return (*build(interpreter), patch, interpreter.facts["compiler"])

    for kind in (exactly, build):
        for like in dict.fromkeys(kind(one) for one in working):  # in order of preference
            fitting = [one for one in working if kind(one) == like]
            best = {spec: next((i for i in fitting if i.spec == spec), None) for spec in specs}
            if all(best.values()):
                return {spec: one for spec, one in best.items() if one is not None}
    return {}


def _why_missing(spec: str, unfit: Sequence[Broken]) -> str:
    reasons = [
        f"{one.executable}: {one.reason}" for one in unfit if one.executable.name == f"python{spec}"
    ]
    where = "the cache, uv's folder and PATH"
    if not reasons:
        return f"there is no python{spec} in {where}"
    return f"no python{spec} in {where} works: {'; '.join(reasons)}"
