"""Find a Chromium for the tests of the site, or get one: ``python tests/tools/chromium.py``.

Tried in order: the one named in TODOBATCH_CHROMIUM, a browser on PATH, playwright's own, then
``playwright install chromium``, then the system's package. It prints the path of what it got.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
REMEDY = "run `make chromium`, or install a Chromium and name it in TODOBATCH_CHROMIUM"


def find() -> Path | None:
    """Return the first browser that answers to ``--version``, or None."""
    return next((path for path in _candidates() if _runs(path)), None)


def get() -> Path | None:
    """Find or install a browser, and print what is done and what failed."""
    if (path := find()) is not None:
        return path
    for command in _installers():
        print(f"No Chromium yet: {' '.join(command)}", flush=True)
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if (path := find()) is not None:
            return path
        last_lines = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        print(f"That gave no browser (exit code {done.returncode}):\n{last_lines}", flush=True)
    return None


def _candidates() -> Iterator[Path]:
    if named := os.environ.get("TODOBATCH_CHROMIUM"):
        yield Path(named)
    yield from (Path(found) for name in NAMES if (found := shutil.which(name)))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield Path(playwright.chromium.executable_path)


def _runs(path: Path) -> bool:
    try:
        command = [str(path), "--version"]
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _installers() -> Iterator[list[str]]:
    yield [sys.executable, "-m", "playwright", "install", "chromium"]
    if shutil.which("apt-get"):
        install = "apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core"
        yield [*_as_root(), "sh", "-c", f"apt-get update -qq && {install}"]


def _as_root() -> list[str]:
    # env, because apt must not ask anything where nobody is there to answer.
    ask_nothing = ["env", "DEBIAN_FRONTEND=noninteractive"]
    return ask_nothing if os.geteuid() == 0 else ["sudo", "-n", *ask_nothing]


def main() -> int:
    path = get()
    if path is None:
        print(f"There is no Chromium for the tests of the site.\n  remedy: {REMEDY}")
        return 1
    print(f"Chromium for the tests of the site: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
