"""Every command in the docs is run as it stands there, and every file that they name exists.

Lines of a ``console`` block that begin with ``$ `` are commands; a backslash at the end continues
one. The commands of a page run in order, in one scratch clone of this checkout. Each must end with
exit code 0, or with the code in an HTML comment before its block: ``<!-- exit: 2 -->``. A command
that is not run has a reason below.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tools import command_reference

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "report"  # computed from a run, and ignored by git
PAGES = sorted(
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if not page.is_relative_to(REPORT)
)
SCRIPTS = Path(sysconfig.get_path("scripts"))

# Command as it stands in a page, or its beginning followed by '…' -> who runs it instead.
NOT_RUN_HERE = {
    "make test": ".ci/run: it is what runs this",
    "make setup": ".ci/run, through make check",
    ".venv/bin/python -m pytest tests/repository/test_docs_commands.py -k workloads.md": (
        "it is this test"
    ),
    ".venv/bin/python tests/tools/run_on.py 3.14t tests/contract -q": "make test runs that whole",
    "make requirements": "its outcome depends on what the registry holds today",
    ".ci/run": "CI itself",
    "todobatch drill --interpreter 3.14t": "minutes; tests/lab/drill drills parts of it",
    "pip install '.[lab,reports]' ./reports": "test_package.py, in an environment of its own",
    ".venv/bin/pre-commit install": "it changes the checkout's git hooks",
}
# What would take minutes is told to be short; the command itself stays as it is written.
SHORT = {"BENCH_FLAGS": "--quick --workloads validate --executors threads --workers 2 --blocks 2"}


@dataclass(frozen=True)
class Command:
    """One command of a page."""

    text: str
    line: int
    exit_code: int


def commands(page: str) -> Iterator[Command]:
    """Return the commands of a page's text, in order."""
    exit_code, in_block, pending = 0, False, ""
    for number, line in enumerate(page.splitlines(), start=1):
        text = line.strip()
        if in_block and text.startswith("```"):
            in_block, exit_code = False, 0
        elif in_block and (pending or text.startswith("$ ")):
            pending += text.removeprefix("$ ") if not pending else text
            if pending.endswith("\\"):
                pending = pending[:-1]
            else:
                yield Command(pending, number, exit_code)
                pending = ""
        elif text.startswith("```console"):
            in_block = True
        elif match := re.fullmatch(r"<!-- exit: (\d+) -->", text):
            exit_code = int(match[1])


WITH_COMMANDS = [page for page in PAGES if any(commands(page.read_text("utf-8")))]


def reason_not_to_run(command: str) -> str | None:
    for known, reason in NOT_RUN_HERE.items():
        if known.endswith("…") and command.startswith(known[:-1]):
            return reason
        if command == known:
            return reason
    return None


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Make a clone of the checkout, with its uncommitted changes."""
    clone = tmp_path / "todobatch"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True, stdin=subprocess.DEVNULL)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--modified", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
        else:
            (clone / name).unlink(missing_ok=True)  # deleted, and not committed yet
    (clone / ".venv").symlink_to(SCRIPTS.parent)
    return clone


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=names)
def test_every_command_of_the_page_works(page: Path, scratch: Path) -> None:
    env = {
        **os.environ,
        **SHORT,
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        # make takes this environment for ready: it must not be made anew from the clone.
        "MAKEFLAGS": " -- READY=Makefile",
        "COLUMNS": "120",
    }
    for command in commands(page.read_text("utf-8")):
        if reason_not_to_run(command.text):
            continue
        done = subprocess.run(
            ["bash", "-c", command.text],
            cwd=scratch,
            env=env,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        where = f"{names(page)}:{command.line}: $ {command.text}"
        assert done.returncode == command.exit_code, f"{where}\n{done.stdout[-3000:]}"


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_no_block_of_the_page_hides_a_command_from_being_run(page: Path) -> None:
    fence = re.compile(r"^\s*```(?:sh|bash|shell|zsh|shell-session)\b.*$", re.MULTILINE)
    hidden = fence.findall(page.read_text("utf-8"))
    assert hidden == [], "write ```console and '$ ' before each command"


def test_the_page_shows_the_example_as_it_is() -> None:
    page = (ROOT / "docs" / "how-to" / "own-workload.md").read_text("utf-8")
    assert (ROOT / "examples" / "own_workload.py").read_text("utf-8").strip() in page


def test_the_page_of_options_is_what_the_program_prints() -> None:
    remedy = "run: .venv/bin/python tests/tools/command_reference.py"
    assert command_reference.PAGE.read_text("utf-8") == command_reference.page(), remedy


EXAMPLES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs/how-to/python.md").read_text("utf-8"), re.DOTALL
)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_python_example_of_its_page_runs(number: int, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(EXAMPLES[number], "utf-8")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


NAMED_FILE = re.compile(r"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:py|md|toml|yml|txt))?)`")
MADE_LATER = ("build/", "docs/report/", "report/")


def test_every_file_that_the_docs_name_exists() -> None:
    """A file is named in backticks, with a slash, from the root or from the package."""
    missing = [
        f"{names(page)}: {name}"
        for page in PAGES
        for name in NAMED_FILE.findall(page.read_text("utf-8"))
        if not (name.startswith(MADE_LATER) or "NNNN" in name)
        and not any((base / name).exists() for base in (ROOT, ROOT / "todobatch", page.parent))
    ]
    assert missing == []


def test_the_home_of_the_docs_lists_every_page() -> None:
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([\w./-]+\.md)", (docs / "index.md").read_text("utf-8")))
    written = {str(page.relative_to(docs)) for page in PAGES if page.is_relative_to(docs)}
    assert written - linked == {"index.md"}


def test_every_make_target_that_the_docs_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {t for page in PAGES for t in re.findall(r"`make ([a-z-]+)", page.read_text("utf-8"))}
    assert named, "CONTRIBUTING.md names them"
    assert named <= targets


def test_the_docs_have_commands_and_each_one_listed_here_is_in_them() -> None:
    found = {c.text for page in PAGES for c in commands(page.read_text("utf-8"))}
    assert {"make bench", "make test"} <= found
    unused = [
        known
        for known in NOT_RUN_HERE
        if not any(command == known or command.startswith(known.rstrip("…")) for command in found)
    ]
    assert unused == []


def test_commands_are_read_as_they_stand() -> None:
    page = """
<!-- exit: 2 -->
```console
$ todobatch run \\
    nothing.txt
nothing.txt: no such file
```
```python
$ not a command
```
1. then
   ```console
   $ ls
   ```
"""
    assert list(commands(page)) == [
        Command("todobatch run nothing.txt", 5, 2),
        Command("ls", 13, 0),
    ]
