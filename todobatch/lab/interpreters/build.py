"""Build a CPython from its source archive and put it into the cache, complete or not at all.

::

    staging/NAME@…/source   the unpacked archive, built in place
    staging/NAME@…/root     `make install` with DESTDIR: the tree is trimmed, then proved by running
            └── renamed ──►  interpreters/NAME
"""

import json
import os
import shutil
import subprocess
import sysconfig
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from todobatch.errors import BuildError
from todobatch.ipc.child_process import end_group
from todobatch.lab.interpreters import cache
from todobatch.lab.interpreters.proof import NotAnInterpreterError, prove
from todobatch.lab.interpreters.specs import Pin
from todobatch.lab.progress import Progress
from todobatch.runtime import cpus_available
from todobatch.units import Seconds, show_bytes, show_seconds

MANIFEST = "todobatch-build.json"

# The number of lines that each stage prints on Linux with 3.14.7, to show progress.
_LINES = {
    "configure": 820,
    "make": 490,
    "make, twice, with training between": 1050,
    "install": 1950,
}

# Starts the command beside a watcher, which kills the process group when its input ends. That
# happens when this process dies, by SIGKILL too, so no build outlives the todobatch behind it.
_DEADMAN = """
exec 3<&0 </dev/null
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""

# A measured interpreter does not need these. ensurepip stays, for virtual environments.
_TRIM = (
    "lib/libpython*.a",
    "lib/python*/config-*/*.a",
    "lib/python*/config-*/*.o",
    "lib/python*/test",
    "bin/idle*",
    "lib/python*/idlelib",
    "lib/python*/turtledemo",
    "lib/python*/**/*.opt-[12].pyc",
    "share/man",
)


@dataclass(frozen=True, slots=True)
class Target:
    """What to build: a spec such as '3.14t', its pinned source, and the kind of build."""

    spec: str
    pin: Pin
    optimized: bool = False

    @property
    def name(self) -> str:
        """The name of its folder in the cache: 'cpython-3.14.7t-linux-x86_64-optimized'."""
        threaded = "t" if self.free_threaded else ""
        kind = "-optimized" if self.optimized else ""
        return f"cpython-{self.pin.version}{threaded}-{sysconfig.get_platform()}{kind}"

    @property
    def free_threaded(self) -> bool:
        """Whether the spec asks for a build without the GIL."""
        return self.spec.endswith("t")

    @property
    def folder(self) -> Path:
        """The folder in the cache that it is installed in."""
        return cache.cache_dir() / "interpreters" / self.name

    @property
    def flags(self) -> list[str]:
        """The options for configure."""
        flags = [f"--prefix={self.folder}", "--without-ensurepip", "--disable-test-modules"]
        if self.free_threaded:
            flags.append("--disable-gil")
        if self.optimized:
            flags += ["--enable-optimizations", "--with-lto"]
        return flags

    def executable(self, base: Path) -> Path:
        """Return the path of the executable in an installed tree."""
        return base / "bin" / f"python{self.spec}"


def build(target: Target, archive: Path, progress: Progress) -> Path:
    """Build a target and return its executable in the cache. The caller holds the target's lock.

    Raises BuildError that names the log of the build.
    """
    began = time.monotonic()
    with cache.staging(target.name) as aside:
        log = aside / "build.log"
        try:
            source = _unpack(archive, aside / "source", progress)
            made = _make(target, source, aside / "root", log, progress)
            _prove(target, made)
        except BuildError as error:
            raise _with_log(error, target, log) from error
        except OSError as error:
            raise BuildError(
                f"a file could not be read or written: {error}",
                place=f"building {target.name}",
                remedy="free disk space: a build needs up to 1 GB in the cache folder",
            ) from error
        seconds = time.monotonic() - began
        _write_manifest(target, made, seconds)
        size = cache.size_of(made)
        cache.move_into_place(made, target.folder)
    progress.message(
        f"  {target.name}: built in {show_seconds(seconds)}, {show_bytes(size)} in {target.folder}"
    )
    return target.executable(target.folder)


def check(target: Target, executable: Path) -> str | None:
    """Run an interpreter and return why it is not the target, or None when it is."""
    try:
        proof = prove(executable)
    except NotAnInterpreterError as error:
        return str(error)
    if proof.facts["version"] != target.pin.version:
        return f"it is {proof.facts['version']}, not {target.pin.version}"
    if proof.facts["free_threaded_build"] is not target.free_threaded:
        return f"it is {'not ' if target.free_threaded else ''}a free-threaded build"
    if target.optimized and not proof.facts["optimized_build"]:
        return "it is not a profile-guided build"
    if proof.missing:
        return f"it lacks {', '.join(proof.missing)}"
    return None


def _unpack(archive: Path, to: Path, progress: Progress) -> Path:
    progress.step(f"unpacking {archive.name}")
    try:
        with tarfile.open(archive) as tar:
            # Pythons before 3.11.4 have no filters; the archive is pinned anyway.
            if hasattr(tarfile, "data_filter"):
                tar.extractall(to, filter="data")
            else:
                tar.extractall(to)  # noqa: S202
    except (tarfile.TarError, OSError) as error:
        raise BuildError(
            f"the archive cannot be unpacked: {error}",
            place=str(archive),
            remedy="free disk space, or delete the archive so that it is downloaded again",
        ) from error
    inside = list(to.iterdir())
    return inside[0] if len(inside) == 1 else to


def _make(target: Target, source: Path, root: Path, log: Path, progress: Progress) -> Path:
    def run(stage: str, command: Sequence[str]) -> None:
        text, total = f"{target.spec}: {stage}", _LINES[stage]
        progress.step(text, 0, total)
        _run_logged(
            command,
            source,
            log,
            # The total is an estimate, so the last percent is left open.
            on_line=lambda lines: progress.step(text, min(lines, 0.99 * total), total),
        )

    making = "make, twice, with training between" if target.optimized else "make"
    run("configure", ["./configure", *target.flags])
    run(making, ["make", f"-j{cpus_available()}"])
    run("install", ["make", "install", f"DESTDIR={root}"])
    made = root / target.folder.relative_to("/")
    _trim(target, made)
    return made


def _run_logged(
    command: Sequence[str], where: Path, log: Path, on_line: Callable[[int], None]
) -> None:
    """Run a command with its output going to the log; nothing of it outlives this process.

    `on_line` gets the number of lines that it has printed so far.
    """
    with log.open("ab") as file:
        file.write(f"$ {' '.join(command)}\n".encode())
        process = subprocess.Popen(
            ["sh", "-c", _DEADMAN, "sh", *command],
            cwd=where,
            env=_build_environment(),
            stdin=subprocess.PIPE,  # the watcher reads it
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with process:
            assert process.stdout is not None
            try:
                for number, line in enumerate(process.stdout, 1):
                    file.write(line)
                    on_line(number)
                status = process.wait()
            except BaseException:
                end_group(process.pid)
                raise
    if status != 0:
        raise BuildError(f"`{command[0]}` ended with exit code {status}")


def _build_environment() -> dict[str, str]:
    """Return this process's environment without the variables of an outer `make` or Python."""
    unwanted = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "DESTDIR"}
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in unwanted and not name.startswith("PYTHON")
    }
    return {**env, "LC_ALL": "C"}


def _trim(target: Target, made: Path) -> None:
    """Remove what measured programs do not use, and debug symbols where `strip` is installed."""
    for pattern in _TRIM:
        for path in list(made.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    if target.free_threaded:
        # Discovery would take this second name for a GIL build.
        (made / "bin" / f"python{target.spec.removesuffix('t')}").unlink(missing_ok=True)
    strip = shutil.which("strip")
    if strip is None:
        return
    modules = made.glob("lib/python*/lib-dynload/*.so")
    # A file that cannot be stripped stays as it is.
    for path in [*modules, target.executable(made)]:
        subprocess.run([strip, "-S", str(path)], check=False, capture_output=True)


def _prove(target: Target, made: Path) -> None:
    if wrong := check(target, target.executable(made)):
        raise BuildError(f"the interpreter that was built cannot be used: {wrong}")


def _write_manifest(target: Target, made: Path, seconds: Seconds) -> None:
    manifest = {
        "version": target.pin.version,
        "sha256": target.pin.sha256,
        "flags": target.flags,
        "build_s": round(seconds, 1),
    }
    (made / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _with_log(error: BuildError, target: Target, log: Path) -> BuildError:
    """Return the error with the last lines of the log, which is kept."""
    if not log.is_file():
        return BuildError(error.cause, place=error.place or target.name, remedy=error.remedy)
    kept = cache.folder("logs") / f"{target.name}.log"
    shutil.copyfile(log, kept)
    last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-5:]
    return BuildError(
        "\n    ".join([error.cause, *last]),
        place=f"building {target.name}",
        remedy=f"read the whole log: {kept}",
    )
