"""Install an interpreter: uv's download first, and from source where that does not work."""

import os
from collections.abc import Sequence
from pathlib import Path

from todobatch.errors import UsageError, did_you_mean
from todobatch.lab.interpreters import build, cache, fetch, toolchain
from todobatch.lab.interpreters.build import Target
from todobatch.lab.interpreters.commands import run_bounded
from todobatch.lab.interpreters.discovery import Interpreter, uv_executable
from todobatch.lab.interpreters.proof import prove
from todobatch.lab.interpreters.specs import PINS, SPECS, Pin, check_spec
from todobatch.lab.progress import Progress, Silent
from todobatch.units import Seconds

# uv soon gives up on an unreachable network, and waits for a slow one.
_UV_NETWORK = {"UV_HTTP_RETRIES": "1", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "30"}
_UV_TOTAL_S: Seconds = 900


def install(
    spec: str,
    *,
    optimized: bool = False,
    prebuilt: bool = True,
    progress: Progress | None = None,
    pin: Pin | None = None,
    sources: Sequence[fetch.Source] = fetch.SOURCES,
) -> Interpreter:
    """Install a spec such as '3.14t' into the cache, unless it is there. Return the interpreter.

    With `prebuilt`, uv's download is tried first. It is profile-guided, so it serves `optimized`
    too. Otherwise CPython is built from the first of `sources` that gives the pinned archive; `pin`
    defaults to the one in `specs.PINS`. A build takes 2 to 4 minutes on 2 CPUs, and 15 to 30 with
    `optimized` (profile-guided and link-time optimisation). If another process is installing the
    same build, this waits for it and uses its result.

    Raises UsageError for a version without a pin, and BuildError when it cannot be installed.
    """
    target = Target(spec, pin or check_installable(spec), optimized)
    progress = progress or Silent()
    other = f"another todobatch is installing {target.name}: waiting for it"
    with cache.lock(target.name, waiting=lambda: progress.message(other)):
        cache.remove_stale(target.name)  # an install that was killed leaves its files
        executable = _installed(target, progress, downloads=prebuilt)
        if executable is None and prebuilt:
            executable = _from_uv(target, progress)
        if executable is None:
            toolchain.ensure(progress)
            archive = fetch.fetch(target.pin, progress, sources)
            executable = build.build(target, archive, progress)
    return Interpreter(spec, executable, prove(executable).facts, "cache")


def check_installable(spec: str) -> Pin:
    """Return the pinned source of a spec. Raises UsageError when there is none."""
    check_spec(spec)
    pin = PINS.get(spec.removesuffix("t"))
    if pin is None:
        raise UsageError(
            f"todobatch cannot install {spec}{did_you_mean(spec, SPECS)}",
            place="interpreter",
            remedy=f"choose one of {', '.join(SPECS)}; install others yourself and name their path",
        )
    return pin


def _installed(target: Target, progress: Progress, *, downloads: bool) -> Path | None:
    """Return the executable that was installed earlier, if it works."""
    own = target.executable(target.folder)
    for executable in [own, *_downloaded(target)] if downloads else [own]:
        if not executable.is_file():
            continue
        wrong = build.check(target, executable)
        if wrong is None:
            return executable
        progress.message(f"  {executable} cannot be used any more ({wrong})")
    return None


def _downloaded(target: Target) -> list[Path]:
    """Return the executables in the cache that uv downloaded for this target."""
    folder = cache.cache_dir() / "interpreters" / "uv"
    return sorted(folder.glob(f"cpython-{target.pin.version}[+-]*/bin/python{target.spec}"))


def _from_uv(target: Target, progress: Progress) -> Path | None:
    """Let uv download the interpreter into the cache; report a failure and return None."""
    uv = uv_executable()
    if uv is None:
        progress.message("  uv is not installed: building from source")
        return None
    folder = cache.folder("interpreters", "uv")
    request = f"cpython-{target.pin.version}{'+freethreaded' if target.free_threaded else ''}"
    progress.step(f"downloading {request} with uv")
    problem = _run_uv([uv, "python", "install", "--no-bin", "--no-config", request], folder)
    if problem is None:
        for executable in _downloaded(target):
            problem = build.check(target, executable)
            if problem is None:
                progress.message(f"  {request}: downloaded with uv")
                return executable
    why = problem or "uv did not put it into the expected folder"
    progress.message(f"  uv could not provide {request} ({why})")
    progress.message("  so it is built from source")
    return None


def _run_uv(command: list[str], folder: Path) -> str | None:
    """Run uv; return what went wrong, or None."""
    env = {**os.environ, **_UV_NETWORK, "UV_PYTHON_INSTALL_DIR": str(folder), "NO_COLOR": "1"}
    status, _, printed = run_bounded(command, _UV_TOTAL_S, env=env)
    if status == 0:
        return None
    # uv prints a chain of causes; the last is the innermost.
    causes = [line.strip() for line in printed.split("\n") if line.strip()]
    return (causes or [f"exit code {status}"])[-1].removeprefix("cause: ").removeprefix("error: ")
