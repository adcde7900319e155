"""Fixtures of all tests: the measured interpreters, the real command, and no silent skips.

This file is loaded on the measured interpreters too (tests/tools/run_on.py). They have the test
tools and todobatch's worker side only, so functions here import whatever needs more.
"""

import os
import signal
import subprocess
import sysconfig
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from todobatch.lab.interpreters import Interpreter

ROOT = Path(__file__).resolve().parents[1]


# Ctrl-C ------------------------------------------------------------------------------------------


def pytest_configure() -> None:
    """Make Ctrl-C (SIGINT) work in tests and in the commands that they start.

    A shell without job control starts background processes with SIGINT ignored, and their children
    inherit that. A test that interrupts a command would then wait for ever.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


# No silent skips ----------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        default=bool(os.environ.get("CI")),
        help="a test that is skipped or expected to fail is a failure (always so where CI is set)",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("--no-skips"):
        reason = getattr(report, "wasxfail", None)
        kind = "skipped" if reason is None else f"expected to fail ({reason})"
        # pytest counts a report with this attribute as xfailed, whatever its outcome.
        vars(report).pop("wasxfail", None)
        _fail(report, f"{item.nodeid} was {kind}, and --no-skips is on: {_reason(report.longrepr)}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and collector.config.getoption("--no-skips"):
        reason = _reason(report.longrepr)
        _fail(report, f"{collector.nodeid} was skipped whole, and --no-skips is on: {reason}")
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport, why: str) -> None:
    report.outcome = "failed"
    report.longrepr = why


def _reason(longrepr: object) -> str:
    # A skip is reported as (file, line, reason), an expected failure as a traceback.
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


# In parallel threads ------------------------------------------------------------------------------

# These change what all threads share; pytest-run-parallel knows, and uses one thread.
FOR_ONE_THREAD = {"capsys", "monkeypatch"}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests that need the controller, and those that cannot run in parallel threads."""
    in_threads = int(config.getoption("parallel_threads", default=1)) > 1
    start_slowly = _start_slowly() if in_threads else set()
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "run_todobatch" in fixtures:
            item.add_marker("controller")
        if item.get_closest_marker("interpreters"):
            item.add_marker(pytest.mark.thread_unsafe(reason="what it tests is in other processes"))
        if not in_threads:
            continue
        if item.get_closest_marker("thread_unsafe") or fixtures & FOR_ONE_THREAD:
            item.add_marker(pytest.mark.iterations(1))
        elif getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.iterations(1))  # it repeats itself
        elif start_slowly.intersection(_parameters(item)):  # in two threads, once
            item.add_marker(pytest.mark.parallel_threads_limit(2))
            item.add_marker(pytest.mark.iterations(1))


def _start_slowly() -> set[str]:
    """Return the names of executors whose workers take 20 to 200 ms to start."""
    from todobatch.executors import EXECUTORS

    copying = {name for name, each in EXECUTORS.items() if each.capabilities.needs_pickling}
    return {*copying, "wrapped processes"}


def _parameters(item: pytest.Item) -> list[str]:
    """Return the parameters of a test, with executors by their names."""
    parametrized = getattr(item, "callspec", None)
    values = [] if parametrized is None else parametrized.params.values()
    return [str(getattr(value, "name", value)) for value in values]


# The measured interpreters ------------------------------------------------------------------------


@pytest.fixture(scope="session")
def python314() -> "Interpreter":
    """Return CPython 3.14 with the GIL; fail the test, with the remedy, if it is missing."""
    return _interpreter("3.14", free_threaded=False)


@pytest.fixture(scope="session")
def python314t() -> "Interpreter":
    """Return free-threaded CPython 3.14; fail the test, with the remedy, if it is missing."""
    return _interpreter("3.14t", free_threaded=True)


@pytest.fixture(scope="session", params=["3.14", "3.14t"])
def each_python(request: pytest.FixtureRequest) -> "Interpreter":
    """Run the test on both interpreters, one after the other."""
    return _interpreter(request.param, free_threaded=request.param.endswith("t"))


def _interpreter(spec: str, *, free_threaded: bool) -> "Interpreter":
    from todobatch.errors import InterpreterMissingError
    from todobatch.lab.interpreters import find

    try:
        interpreter = find(spec)
    except InterpreterMissingError as error:
        pytest.fail(f"{error}\n  in a checkout: make interpreters", pytrace=False)
    assert interpreter.facts["free_threaded_build"] is free_threaded
    return interpreter


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Return the path of a Chromium; fail the test, with the remedy, if there is none."""
    from tests.tools import chromium as browsers

    path = browsers.find()
    if path is None:
        pytest.fail(f"there is no Chromium\n  remedy: {browsers.REMEDY}", pytrace=False)
    return path


# The real command ---------------------------------------------------------------------------------

# Where pip puts commands; that is on PATH only while the environment is activated.
COMMAND = Path(sysconfig.get_path("scripts")) / "todobatch"


@dataclass(frozen=True)
class Done:
    """The exit code and output of a command that has ended."""

    returncode: int
    stdout: str
    stderr: str


class RunTodobatch(Protocol):
    def __call__(
        self,
        *args: str | Path,
        interpreter: "Interpreter | None" = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 100,
        stdin: str = "",
    ) -> Done: ...


@pytest.fixture(scope="session")
def run_todobatch() -> RunTodobatch:
    """Run the ``todobatch`` command that is installed beside this Python.

    With an `interpreter`, the command is told to work on it. `env` is added to the environment.
    """

    def run(
        *args: str | Path,
        interpreter: "Interpreter | None" = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 100,
        stdin: str = "",
    ) -> Done:
        work_on = [] if interpreter is None else ["--interpreter", str(interpreter.executable)]
        done = subprocess.run(
            [str(COMMAND), *map(str, args), *work_on],
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
