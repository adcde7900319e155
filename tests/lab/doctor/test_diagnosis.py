"""`todobatch doctor` works from end to end; a run stores its findings, `show` prints them."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.conftest import COMMAND, RunTodobatch
from tests.lab.doctor.machines import QUIET, before, found, python
from tests.tools import made_up
from todobatch.cli.app import app
from todobatch.cli.views import show
from todobatch.cli.views.doctor import as_lines
from todobatch.errors import InterpreterMissingError, MeasurementError
from todobatch.lab.doctor import checks, diagnosis, noise, parallelism
from todobatch.lab.doctor.noise import Pair
from todobatch.lab.doctor.parallelism import Parallelism
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.progress import Silent
from todobatch.lab.store.folder import load_run

GOLDEN = Path(__file__).parents[1] / "store" / "golden" / "schema-1"


@pytest.fixture
def quick_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace all measurements by made-up ones, so that no process is started."""
    monkeypatch.setattr(parallelism, "measure", lambda _: Parallelism((1.1, 1.2), (1.98, 1.99)))
    monkeypatch.setattr(diagnosis, "find_all", lambda specs: [python(spec) for spec in specs])

    def pairs(*_: object) -> Iterator[Pair]:
        yield from (Pair(0.3 + 0.01 * (n % 3), 0.31, 1.2) for n in range(9))

    monkeypatch.setattr(noise, "measure_pairs", pairs)


def diagnosed() -> diagnosis.Diagnosis:
    return diagnosis.diagnose(Silent(), seconds=5.0, measure=True)


@pytest.mark.usefixtures("quick_measures")
def test_the_page_fits_into_80_columns_and_begins_with_the_warnings() -> None:
    lines = as_lines(diagnosed(), 80)
    assert max(map(len, lines)) <= 80
    severities = [word for line in lines if (word := line.split(" ")[0]) in ("warning", "ok")]
    assert severities == sorted(severities, reverse=True)
    text = " ".join(" ".join(lines).split())
    assert "two busy processes used 1.15 CPUs (1.10 to 1.20) within 0.1 s" in text
    assert "measured for pairs smallest difference" in text
    assert "9 pairs of the same sample" in text


@pytest.mark.usefixtures("quick_measures")
def test_the_document_has_machine_findings_and_noise() -> None:
    document = json.loads(diagnosed().as_json())
    assert document.keys() == {"machine", "findings", "noise", "interrupted"}
    for finding in document["findings"]:
        assert finding.keys() == {"name", "severity", "seen", "effect", "remedy"}
    assert document["noise"]["pairs"] == 9
    assert document["noise"]["mean"].keys() == {"estimate", "low", "high"}
    assert [each["seconds"] for each in document["noise"]["detectable"]] == [10, 60, 300, 1800]
    assert document["noise"]["spread"] > 0


@pytest.mark.usefixtures("quick_measures")
def test_ctrl_c_leaves_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Iterator[Pair]:
        yield Pair(0.30, 0.31, 1.2)
        yield Pair(0.31, 0.30, 1.2)
        raise KeyboardInterrupt

    monkeypatch.setattr(noise, "measure_pairs", interrupted)
    seen = diagnosed()
    assert seen.interrupted
    assert seen.noise is not None
    assert seen.noise.pairs == 2
    assert as_lines(seen, 80)[-1].startswith("Interrupted")


@pytest.mark.usefixtures("quick_measures")
def test_without_an_interpreter_there_are_findings_and_the_way_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(spec: object) -> Any:
        raise InterpreterMissingError("there is none")

    monkeypatch.setattr(diagnosis, "find_all", none)
    monkeypatch.setattr(diagnosis, "find", none)
    seen = diagnosed()
    assert seen.noise is None
    text = " ".join(" ".join(as_lines(seen, 80)).split())
    assert "todobatch interpreters install 3.14 3.14t" in text
    assert "A/A run: not run: no default interpreter was found" in text
    assert "CPUs in parallel" in text


@pytest.mark.usefixtures("quick_measures")
def test_failing_samples_are_a_finding_not_a_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> Iterator[Pair]:
        raise MeasurementError("its process was killed in /home/me/x", remedy="mend it")
        yield

    monkeypatch.setattr(noise, "measure_pairs", broken)
    (finding,) = [each for each in diagnosed().findings if each.name == noise.NAME]
    assert finding.severity == "warning"
    assert finding.seen == "it failed: its process was killed in …/x"


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 3)])
@pytest.mark.usefixtures("quick_measures")
def test_a_warning_is_no_failure_unless_strict_asks_for_it(
    options: tuple[str, ...], code: int
) -> None:
    done = CliRunner().invoke(app, ["doctor", *options])
    assert done.exit_code == code
    assert "warning  CPUs in parallel" in done.stdout


def test_seconds_that_make_no_sense_are_refused(run_todobatch: RunTodobatch) -> None:
    for seconds in ("0", "-3", "nan", "inf"):
        done = run_todobatch("doctor", "--seconds", seconds)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--seconds" in done.stderr


@pytest.mark.interpreters
def test_looking_without_measuring_prints_findings_and_no_noise(
    run_todobatch: RunTodobatch, python314: Interpreter
) -> None:
    done = run_todobatch("doctor", "--no-measure", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(document["findings"]) == len(checks.CHECKS)
    assert document["noise"] is None


@pytest.mark.interpreters
def test_ctrl_c_prints_the_findings_and_exits_130(python314: Interpreter) -> None:
    process = subprocess.Popen(
        [str(COMMAND), "doctor", "--seconds", "600"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=dict(os.environ),
    )
    assert process.stderr is not None
    while "A/A run" not in (line := process.stderr.readline()):
        assert line, process.communicate()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "CPUs in parallel" in output
    assert "Interrupted" in output
    assert "Traceback" not in errors


@pytest.mark.interpreters
@pytest.mark.timeout(300)
def test_a_run_keeps_what_doctor_finds_without_measuring(
    run_todobatch: RunTodobatch, mine: str, tmp_path: Path, interpreters: dict[str, Interpreter]
) -> None:
    folder = tmp_path / "run"
    # Found by the command too, not by the measured processes alone.
    here = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    done = run_todobatch(
        *("bench", "--workloads", f"{mine}:length", "--executors", "threads", "--workers", "2"),
        *("--blocks", "1", "--batch-size", "5", "--seed", "1", "-o", folder),
        env={"PYTHONPATH": here},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = load_run(folder).meta.doctor
    assert [each["name"] for each in kept] == [each.name for each in checks.examine(QUIET)]
    assert str(Path.home()) not in json.dumps(kept)
    assert str(tmp_path) not in json.dumps(kept)


def test_show_has_a_line_for_each_warning_of_the_run() -> None:
    findings = [
        found(replace(QUIET, on_battery=True, turbo=True), name) for name in ("power", "turbo")
    ]
    run = made_up.run_of({made_up.SEQ: made_up.drifting(1.0)})
    warned = replace(run, meta=replace(run.meta, doctor=checks.as_dictionaries(findings)))
    lines = [line for line in show.notes(warned) if line.startswith("Doctor:")]
    assert lines == ["Doctor: power: on a battery"]


def test_show_reports_a_busy_machine_once() -> None:
    run = made_up.run_of({made_up.SEQ: made_up.drifting(1.0)})
    busy = found(before(load=6.0), "load of others")
    meta = replace(
        run.meta, machine={**run.meta.machine, "load": [6.0]}, doctor=checks.as_dictionaries([busy])
    )
    assert sum("load" in line for line in show.notes(replace(run, meta=meta))) == 1


def test_a_run_of_before_there_was_a_doctor_has_no_findings() -> None:
    assert load_run(GOLDEN).meta.doctor == []
