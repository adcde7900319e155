"""Committed files name no host of a package registry, and no path of the developer's machine.

The hosts are those that apt, npm and pip are set to, so they are not written here either.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIP_HOSTS = (
    "from pip._internal.models.index import PyPI as index;"
    "print(f'https://{index.netloc} https://{index.file_storage_domain}')"
)
CLIENTS = (
    ["apt-get", "indextargets", "--format", "$(SITE)"],
    ["npm", "config", "get", "registry"],
    [sys.executable, "-m", "pip", "config", "list"],
    [sys.executable, "-c", PIP_HOSTS],
)
A_URLS_HOST = re.compile(r"[a-z+]+://(?:[^/@\s]*@)?((?:[a-z0-9-]+\.)+[a-z]{2,})")
# Written so that this file does not hold what it looks for.
MACHINE_FOLDERS = ("work", "farm", "root", "tmp/boot")
A_MACHINE_PATH = re.compile(rf"(?<![A-Za-z0-9_.])/(?:{'|'.join(MACHINE_FOLDERS)})/")


def committed_files() -> dict[str, str]:
    """Return the text of each file that git tracks or would add, by path; no binary files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            files[name] = content.decode("utf-8", errors="replace")
    return files


def registry_hosts() -> set[str]:
    """Return every host that a package client of this machine is set to."""
    said = " ".join(_answer(command) for command in CLIENTS if shutil.which(command[0]))
    return set(A_URLS_HOST.findall(said))


def _answer(command: list[str]) -> str:
    return subprocess.run(
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    ).stdout


def lines_with(files: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_committed_file_names_a_package_registrys_host() -> None:
    hosts = registry_hosts()
    assert hosts, "pip alone names two"
    pattern = re.compile("|".join(re.escape(host) for host in sorted(hosts)))
    assert lines_with(committed_files(), pattern) == []


def test_no_committed_file_holds_a_path_of_this_machine() -> None:
    files = committed_files()
    assert lines_with(files, A_MACHINE_PATH) == []
    # The checkout's own folder, wherever it is.
    assert lines_with(files, re.compile(re.escape(f"{ROOT}/"))) == []


def test_a_trace_is_seen() -> None:
    path = "/".join(["", MACHINE_FOLDERS[0], "main"])
    host = min(registry_hosts())
    planted = {"a.md": f"see {path}", "b.txt": f"https://{host}/simple", "c.py": "net/work/"}
    assert lines_with(planted, A_MACHINE_PATH) == [f"a.md:1: see {path}"]
    assert len(lines_with(planted, re.compile(re.escape(host)))) == 1


def test_no_committed_file_is_larger_than_a_megabyte_and_a_half() -> None:
    large = [name for name in committed_files() if (ROOT / name).stat().st_size > 1_500_000]
    assert large == []


def test_the_requirement_files_have_hashes_and_no_addresses() -> None:
    paths = sorted((ROOT / "requirements").glob("*.txt"))
    assert paths
    for path in paths:
        text = path.read_text("utf-8")
        assert "://" not in text, path
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        pins = [number for number, line in enumerate(lines) if "==" in line]
        assert pins, path
        unhashed = [lines[n] for n in pins if not lines[n + 1].startswith("    --hash=sha256:")]
        assert unhashed == [], path
