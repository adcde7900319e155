"""Find the interpreters of this machine: where to look, and proof by running each one.

A name on PATH proves nothing: a shim can exist and not run, and ``python3.14`` can be any build.
So each candidate is started and says itself what it is. Candidates run side by side, each within
`PROOF_TIMEOUT_S`.

When several fit a spec, the first of this order is taken (`preference`):

1. a release build before a debug build;
2. a profile-guided build before a plain one, then a link-time optimised one before others:
   what is measured should be what people run;
3. by origin: todobatch's own cache, uv's, the running interpreter, PATH;
4. the newer version; then the path, so that the answer is always the same.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, cast

from todobatch import runtime
from todobatch.errors import InterpreterMissingError, UsageError
from todobatch.lab.interpreters.cache import cache_dir
from todobatch.lab.interpreters.pins import OLDEST_PYTHON, SPECS
from todobatch.runtime import RuntimeFacts

Origin: TypeAlias = Literal["running", "PATH", "uv", "cache", "path"]

PROOF_TIMEOUT_S = 20.0
"""Long enough for a cold start on a busy machine; a script that hangs costs no more than this."""

NEEDED_MODULES = ("zlib", "_ctypes", "_hashlib", "_interpreters", "_sqlite3", "_ssl")
"""What an interpreter that we install must have; a build without headers leaves some out."""

_SPEC = re.compile(r"3\.(\d+)(t?)")
_ORIGIN_RANK: dict[Origin, int] = {"path": 0, "cache": 1, "uv": 2, "running": 3, "PATH": 4}

# runtime.py is loaded by its path: nothing of todobatch needs to be installed there.
_PROOF = """
import json, sys
if sys.version_info < (3, 11):
    print(json.dumps({"too_old": "%d.%d.%d" % sys.version_info[:3]}))
    sys.exit()
import importlib.util, runpy
facts = runpy.run_path(sys.argv[1])["facts"]()
missing = [name for name in sys.argv[2:] if importlib.util.find_spec(name) is None]
print(json.dumps({"facts": facts, "prefix": sys.prefix, "missing": missing}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One interpreter that was run and told its facts.

    `spec` is what it answers to: '3.14', '3.14t', or the path it was asked for by.
    """

    spec: str
    executable: Path
    facts: RuntimeFacts
    origin: Origin


@dataclass(frozen=True, slots=True)
class Broken:
    """A candidate that exists but is of no use, and why."""

    executable: Path
    origin: Origin
    reason: str


class Survey(NamedTuple):
    """All that was found, the preferred ones first."""

    working: list[Interpreter]
    broken: list[Broken]
    misnamed: list[Broken]  # they work, but are not what their file's name says


class Proof(NamedTuple):
    """What an interpreter said when it was run."""

    facts: RuntimeFacts
    prefix: str
    missing: tuple[str, ...]  # of NEEDED_MODULES


class Candidate(NamedTuple):
    """A file that may be an interpreter."""

    executable: Path
    origin: Origin


class NotAnInterpreterError(Exception):
    """A candidate did not prove to be a usable interpreter; the message says why."""


def find(spec: str) -> Interpreter:
    """The preferred interpreter for '3.14', '3.14t', … or for the path of an executable.

    Raises InterpreterMissingError (none fits, or it does not run) and UsageError (no such spec).
    """
    if is_path(spec):
        return _at_path(spec)
    check_spec(spec)
    survey = look_for([spec])
    for interpreter in survey.working:
        if interpreter.spec == spec:
            return interpreter
    raise InterpreterMissingError(
        _why_missing(spec, [*survey.broken, *survey.misnamed]),
        place=f"interpreter {spec}",
        remedy=_remedy(spec),
    )


def find_all(specs: Sequence[str]) -> list[Interpreter]:
    """One interpreter a spec, chosen to be alike where that is possible.

    A profile-guided 3.14 beside a plain 3.14t would be compared by how they were built. So if every
    version spec has builds of one kind (optimisation and patch version, then optimisation alone),
    those are taken; else each spec gets what `find` gives. See `differences` for what remains.
    Raises as `find` does.
    """
    named = [spec for spec in specs if not is_path(spec)]
    for spec in named:
        check_spec(spec)
    working = look_for(named).working if named else []
    chosen = _alike(named, working)
    return [chosen.get(spec) or find(spec) for spec in specs]


def found() -> list[Interpreter]:
    """Every working interpreter of the known versions, and the running one; preferred ones first.

    Two that are the same build at the same place are listed once.
    """
    return look_for(SPECS).working


def survey() -> Survey:
    """As `found`, with the candidates that are broken."""
    return look_for(SPECS)


def differences(a: Interpreter, b: Interpreter) -> list[str]:
    """What, besides the GIL, sets two builds apart, so that comparing them would mislead."""
    said = []
    for label, key in (
        ("version", "version"),
        ("profile-guided optimisation", "optimized_build"),
        ("link-time optimisation", "lto_build"),
        ("debug build", "debug_build"),
        ("compiler", "compiler"),
    ):
        ours, theirs = (cast("dict[str, object]", one.facts)[key] for one in (a, b))
        if ours != theirs:
            said.append(f"{label}: {_say(ours)} ({a.spec}), {_say(theirs)} ({b.spec})")
    return said


def is_path(spec: str) -> bool:
    """Whether a spec names a file rather than a version."""
    return os.sep in spec or spec.startswith("~")


def check_spec(spec: str) -> None:
    """Raise UsageError for a spec that is neither a version nor a path."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UsageError(
            f"{spec!r} is neither a version such as 3.14 or 3.14t nor a path with a '{os.sep}'",
            place="interpreter",
            remedy="`todobatch interpreters` lists what is here",
        )
    if (3, int(match[1])) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise UsageError(f"todobatch needs Python {oldest} or newer", place=f"interpreter {spec}")
    if match[2] and int(match[1]) < 13:
        raise UsageError(
            "free-threaded builds begin with 3.13", place=f"interpreter {spec}", remedy="try 3.14t"
        )


def spec_of(facts: RuntimeFacts) -> str:
    """The spec that an interpreter answers to: '3.14.7', free-threaded -> '3.14t'."""
    major, minor = facts["version"].split(".")[:2]
    return f"{major}.{minor}{'t' if facts['free_threaded_build'] else ''}"


def prove(executable: Path, *, timeout_s: float = PROOF_TIMEOUT_S) -> Proof:
    """Run an interpreter and return what it says of itself.

    Raises NotAnInterpreterError, with the reason, when it does not run, is not CPython, is too old
    or does not answer within `timeout_s`.
    """
    command = [str(executable), "-I", "-c", _PROOF, runtime.__file__, *NEEDED_MODULES]
    status, out, err = _run_bounded(command, timeout_s)
    if status != 0:
        raise NotAnInterpreterError(f"it does not run: {_one_line(err) or f'exit code {status}'}")
    try:
        said = json.loads(out)
    except ValueError:
        raise NotAnInterpreterError(f"it is not Python: it said {_one_line(out)!r}") from None
    if "too_old" in said:
        raise NotAnInterpreterError(f"it is Python {said['too_old']}; todobatch needs 3.11")
    if said["facts"]["implementation"] != "cpython":
        raise NotAnInterpreterError(f"it is {said['facts']['implementation']}, not CPython")
    return Proof(said["facts"], said["prefix"], tuple(said["missing"]))


def preference(interpreter: Interpreter) -> tuple[object, ...]:
    """A sort key: the preferred interpreter comes first (see the module's docstring)."""
    facts = interpreter.facts
    return (
        facts["debug_build"],
        not facts["optimized_build"],
        not facts["lto_build"],
        _ORIGIN_RANK[interpreter.origin],
        tuple(-number for number in version_numbers(facts["version"])),
        str(interpreter.executable),
    )


def version_numbers(version: str) -> tuple[int, ...]:
    """'3.15.0rc2' -> (3, 15, 0, 2, 2): comparable, a final release above its candidates."""
    match = re.match(r"(\d+)\.(\d+)\.(\d+)(?:(a|b|rc)(\d+))?", version)
    if match is None:
        return (0,)
    stage = {"a": 0, "b": 1, "rc": 2, None: 3}[match[4]]
    return (*map(int, match.group(1, 2, 3)), stage, int(match[5] or 0))


# Where to look ------------------------------------------------------------------------------------


def look_for(specs: Iterable[str]) -> Survey:
    """Run every candidate for these specs."""
    from concurrent.futures import ThreadPoolExecutor

    candidates = list(dict.fromkeys(_candidates(specs)))
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="prove") as pool:
        answers = list(pool.map(_answer, candidates))
    working: dict[tuple[str, int, int], Interpreter] = {}
    for answer in answers:
        if isinstance(answer, tuple):
            interpreter, prefix = answer
            # One file may have several names; a virtual environment's has a prefix of its own.
            file = interpreter.executable.stat()
            place = (os.path.realpath(prefix), file.st_dev, file.st_ino)
            known = working.get(place)
            if known is None or preference(interpreter) < preference(known):
                working[place] = interpreter
    broken = [answer for answer in answers if isinstance(answer, Broken)]
    misnamed = [
        Broken(candidate.executable, candidate.origin, f"it is {answer[0].facts['version']}")
        for candidate, answer in zip(candidates, answers, strict=True)
        if isinstance(answer, tuple) and not _is_named(candidate.executable.name, answer[0].spec)
    ]
    return Survey(sorted(working.values(), key=preference), broken, misnamed)


def _candidates(specs: Iterable[str]) -> Iterator[Candidate]:
    yield Candidate(Path(sys.executable), "running")
    own = cache_dir() / "interpreters"
    uvs = _uv_folder()
    for spec in specs:
        name = f"python{spec}"
        yield from (Candidate(path, "cache") for path in sorted(own.glob(f"*/bin/{name}")))
        yield from (Candidate(path, "cache") for path in sorted(own.glob(f"uv/*/bin/{name}")))
        if uvs is not None:
            yield from (Candidate(path, "uv") for path in sorted(uvs.glob(f"*/bin/{name}")))
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            path = Path(folder or os.curdir, name)
            if path.is_file() and os.access(path, os.X_OK):
                yield Candidate(path, "PATH")


def _uv_folder() -> Path | None:
    """Where uv keeps the interpreters that it installed for the user, as uv itself says."""
    from todobatch.lab.interpreters.uv import uv_executable

    uv = uv_executable()
    if uv is None:
        return None
    status, out, _ = _run_bounded([uv, "python", "dir"], 10.0)
    return Path(out.strip()) if status == 0 and out.strip() else None


def _answer(candidate: Candidate) -> tuple[Interpreter, str] | Broken:
    try:
        proof = prove(candidate.executable)
    except NotAnInterpreterError as error:
        return Broken(candidate.executable, candidate.origin, str(error))
    # A shim (pyenv's) says where the real one is: starting that spares each sample a shell script.
    said = Path(proof.facts["executable"])
    executable = said if said.is_file() else candidate.executable
    return (
        Interpreter(spec_of(proof.facts), executable, proof.facts, candidate.origin),
        proof.prefix,
    )


def _is_named(name: str, spec: str) -> bool:
    """Whether a file's name agrees with what it is; names without a version agree with any."""
    return _SPEC.fullmatch(name.removeprefix("python")) is None or name == f"python{spec}"


def _at_path(spec: str) -> Interpreter:
    # Not resolved: a virtual environment's python is a link, and known by where it stands.
    path = Path(spec).expanduser().absolute()
    remedy = "name the executable itself, such as .venv/bin/python"
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise InterpreterMissingError(what, place=spec, remedy=remedy)
    try:
        proof = prove(path)
    except NotAnInterpreterError as error:
        raise InterpreterMissingError(str(error), place=spec, remedy=remedy) from error
    return Interpreter(spec, path, proof.facts, "path")


def _alike(specs: Sequence[str], working: Sequence[Interpreter]) -> dict[str, Interpreter]:
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


def _remedy(spec: str) -> str:
    if spec in SPECS:
        return f"todobatch interpreters install {spec}"
    return f"install it and name its path; `todobatch interpreters install` gets {', '.join(SPECS)}"


def _run_bounded(command: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
    """Run a command within a time; one that hangs is killed with all its children."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A script that hangs in a child would keep our pipe open: its whole group must go.
            start_new_session=True,
        )
    except OSError as error:
        return 127, "", error.strerror or str(error)
    with process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return 124, "", f"no answer within {timeout_s:g} s"
    return process.returncode, out, err


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:119]}…"


def _say(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
