"""Install an interpreter: uv's download first, and from source where that does not work."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from todobatch.errors import UsageError
from todobatch.lab.interpreters import build, cache, fetch, toolchain
from todobatch.lab.interpreters.build import Target
from todobatch.lab.interpreters.discovery import Interpreter, check_spec, prove
from todobatch.lab.interpreters.pins import PINS, SPECS, Pin
from todobatch.lab.interpreters.progress import Progress, Silent
from todobatch.lab.interpreters.uv import uv_executable

# An unreachable network must be found out fast, a slow one be waited for.
_UV_NETWORK = {"UV_HTTP_RETRIES": "1", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "30"}
_UV_TOTAL_S = 900


def install(
    spec: str,
    *,
    optimized: bool = False,
    prebuilt: bool = True,
    progress: Progress | None = None,
    pin: Pin | None = None,
    sources: Sequence[fetch.Source] = fetch.SOURCES,
) -> Interpreter:
    """Get '3.14', '3.14t', … into the cache and return it; at once when it is there and runs.

    With `prebuilt`, uv's download is tried first (it is profile-guided, so it does for `optimized`
    as well). Then it is built from the first of `sources` that gives the pinned archive; `pin`
    defaults to the one in `pins.PINS`. Two installs of one thing at once: the second waits, then
    finds it done. A build takes 2-4 minutes on 2 CPUs, 15-30 with `optimized` (profile-guided and
    link-time optimisation).

    Raises UsageError for a version without a pin and BuildError when no way led to it.
    """
    target = Target(spec, pin or check_installable(spec), optimized)
    progress = progress or Silent()

    def waiting() -> None:
        progress.note(f"another todobatch is installing {target.name}: waiting for it")

    with cache.lock(target.name, waiting=waiting):
        cache.remove_stale(target.name)  # of an install that was killed
        executable = (
            _installed(target, progress)
            or (_from_uv(target, progress) if prebuilt else None)
            or _from_source(target, progress, sources)
        )
    return Interpreter(spec, executable, prove(executable).facts, "cache")


def check_installable(spec: str) -> Pin:
    """The pinned source of a spec; UsageError where there is none."""
    check_spec(spec)
    pin = PINS.get(spec.removesuffix("t"))
    if pin is None:
        raise UsageError(
            f"todobatch knows no source of {spec}",
            place="interpreter",
            remedy=f"one of {', '.join(SPECS)}; name others by path once they are installed",
        )
    return pin


def _installed(target: Target, progress: Progress) -> Path | None:
    """What an earlier install put there, if it (still) works."""
    own = target.executable(target.folder)
    for executable in [own, *_uvs(target)]:
        if not executable.is_file():
            continue
        wrong = build.check(target, executable)
        if wrong is None:
            return executable
        progress.note(f"  {executable} is of no use any more ({wrong})")
    return None


def _uvs(target: Target) -> list[Path]:
    folder = cache.cache_dir() / "interpreters" / "uv"
    return sorted(folder.glob(f"cpython-{target.pin.version}[+-]*/bin/python{target.spec}"))


def _from_uv(target: Target, progress: Progress) -> Path | None:
    """Let uv download it into our cache; None, with the reason noted, when that fails."""
    uv = uv_executable()
    if uv is None:
        progress.note("  uv is not installed: building from source")
        return None
    folder = cache.folder("interpreters", "uv")
    request = f"cpython-{target.pin.version}{'+freethreaded' if target.free_threaded else ''}"
    progress.stage(f"downloading {request} with uv")
    problem = _run_uv([uv, "python", "install", "--no-bin", "--no-config", request], folder)
    if problem is None:
        for executable in _uvs(target):
            problem = build.check(target, executable)
            if problem is None:
                progress.note(f"  {request}: downloaded with uv")
                return executable
    progress.note(f"  uv could not provide {request} ({problem or 'it is not where it should be'})")
    progress.note("  so it is built from source")
    return None


def _run_uv(command: list[str], folder: Path) -> str | None:
    env = {**os.environ, **_UV_NETWORK, "UV_PYTHON_INSTALL_DIR": str(folder), "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            command,
            env=env,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_UV_TOTAL_S,
        )
    except subprocess.TimeoutExpired:
        return f"not done within {_UV_TOTAL_S} s"
    if done.returncode == 0:
        return None
    # The last of uv's causes is the innermost one.
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return (
        said[-1].removeprefix("cause: ").removeprefix("error: ")
        if said
        else f"exit code {done.returncode}"
    )


def _from_source(target: Target, progress: Progress, sources: Sequence[fetch.Source]) -> Path:
    toolchain.ensure(progress)
    archive = fetch.fetch(target.pin, progress, sources)
    return build.build(target, archive, progress)
