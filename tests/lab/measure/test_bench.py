"""`todobatch bench` and `show` with real processes: kills, resumes, clocks and full disks."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMAND, RunTodobatch
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.measure import schedule
from todobatch.lab.store.folder import META, SAMPLES, load_run, newest_run

pytestmark = [pytest.mark.interpreters, pytest.mark.timeout(300)]

# 8 cells: sequential and threads with 1, 2 and 4 workers on each interpreter.
SMALL = ("--executors", "threads", "--workers", "1,2,4", "--seed", "11")


@pytest.fixture
def options(mine: str, interpreters: dict[str, Interpreter]) -> list[str]:
    """Return options for 8 cells, with samples of well under a second."""
    del interpreters  # a test that needs them fails with the remedy where they are missing
    return ["bench", *SMALL, "--workloads", f"{mine}:length", "--batch-size", "5"]


def start(*arguments: object, stderr: int = subprocess.STDOUT) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(COMMAND), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
        # Found by the command too, not by the measured processes alone.
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate(timeout=200)
    return process.returncode, output


def wait_for(
    condition: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 100
) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def lines(folder: Path) -> int:
    path = folder / SAMPLES
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_run_that_is_killed_goes_on_where_it_was_and_keeps_what_it_had(
    options: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    process = start(*options, "--blocks", "2", "-o", folder)
    wait_for(lambda: lines(folder) >= 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = load_run(folder)
    assert 3 <= len(before.samples) < 16
    assert before.meta.ended is None

    code, output = finish(start("bench", "--resume", folder, "--trust"))
    assert code == 0, output
    assert f"{len(before.samples)} samples are kept" in output
    after = load_run(folder)
    assert after.samples[: len(before.samples)] == before.samples
    assert after.meta.plan == before.meta.plan
    assert after.meta.ended is not None
    assert len(after.meta.resumed) == 1
    # Every cell once a block, in the order that the seed fixed, as if nothing had happened.
    taken = [(each.block, each.cell) for each in after.samples]
    plan = after.meta.plan
    assert taken == [(b, cell) for b in range(2) for cell in schedule.order(plan, b)]
    assert [each.number for each in after.samples] == list(range(16))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_names_resume_and_exits_130(
    options: list[str], tmp_path: Path, stop: signal.Signals
) -> None:
    folder = tmp_path / "run"
    process = start(*options, "--blocks", "50", "-o", folder, stderr=subprocess.PIPE)
    wait_for(lambda: lines(folder) >= 3, process)  # the third may be under way still
    process.send_signal(stop)
    printed, said = process.communicate(timeout=200)
    assert process.returncode == 130, said
    assert f"todobatch bench --resume {folder} --trust" in said  # the workload is not built in
    assert "Traceback" not in said
    assert printed == ""  # standard output is for results
    run = load_run(folder)
    assert not run.torn
    assert len(run.samples) >= 2
    assert json.loads((folder / "pyperf" / "3.14.json").read_text())["benchmarks"]


def test_a_second_bench_on_the_same_folder_is_refused(options: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(*options, "--blocks", "50", "-o", folder)
    wait_for(lambda: lines(folder) >= 1, process)
    code, output = finish(start("bench", "--resume", folder, "--trust"))
    assert code == 6
    assert "another todobatch is writing to this run" in output
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_complete_run_shows_everything_and_pyperf_reads_it(
    options: list[str], tmp_path: Path, run_todobatch: RunTodobatch
) -> None:
    folder = tmp_path / "run"
    code, output = finish(start(*options, "--blocks", "2", "-o", folder))
    assert code == 0, output
    assert str(folder) in output.splitlines()[-1]
    rows = [line for line in output.splitlines() if line.startswith("threads (GIL)")]
    assert rows
    assert all(len(line) <= 80 for line in rows)

    shown = run_todobatch("show", folder)
    assert shown.returncode == 0, shown.stderr
    assert "threads (GIL)" in shown.stdout
    assert "free-threads" in shown.stdout
    assert "No sample is void: all 16" in shown.stdout
    assert shown.stdout.strip() in output

    document = json.loads(run_todobatch("show", folder, "--json").stdout)
    assert len(document["cells"]) == 8
    wanted = {
        *("executor", "workload", "workers", "interpreter", "gil_enabled", "samples"),
        *("wall_s", "cpu_s", "peak_bytes", "speedup"),
    }
    for cell in document["cells"]:
        assert wanted <= cell.keys()
        assert cell["samples"] == 2
        for figure in ("wall_s", "cpu_s", "peak_bytes", "speedup"):
            assert cell[figure].keys() == {"estimate", "low", "high"}
            assert cell[figure]["low"] <= cell[figure]["estimate"] <= cell[figure]["high"]
    assert [each["workload"] for each in document["winners"]] == ["mine:length"]

    files = [str(folder / "pyperf" / f"{spec}.json") for spec in ("3.14", "3.14t")]
    stats = pyperf("stats", files[0])
    assert "mine:length/threads/2" in stats
    assert "Total number of run: 2" in stats
    compared = pyperf("compare_to", "--table", *files)
    assert "mine:length/threads/2" in compared or "not significant (4)" in compared
    assert pyperf("hist", files[1])


def test_a_run_folder_holds_no_path_of_the_machine(options: list[str], tmp_path: Path) -> None:
    import socket

    folder = tmp_path / "run"
    code, output = finish(start(*options, "--blocks", "1", "-o", folder))
    assert code == 0, output
    for path in (folder / META, folder / SAMPLES, folder / "pyperf" / "3.14.json"):
        text = path.read_text()
        assert str(Path.home()) not in text
        assert str(tmp_path) not in text
        assert sys.prefix not in text
        assert "--prefix" not in text
        assert f'"{socket.gethostname()}"' not in text


def test_own_tasks_are_measured_and_a_changed_file_is_not_resumed(
    options: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    tasks = Path("tasks.jsonl")
    tasks.write_text('{"title": "one"}\n{"title": "three"}\nbroken\n')
    code, output = finish(start(*options, "--blocks", "1", "--input", tasks, "-o", folder))
    assert code == 0, output
    assert "tasks.jsonl:3" in output  # the broken record, by file and line
    source = load_run(folder).meta.plan.source
    assert (source["path"], source["tasks"], source["broken"]) == ("tasks.jsonl", 2, 1)

    tasks.write_text('{"title": "four"}\n')
    code, output = finish(start("bench", "--resume", folder, "--trust"))
    assert code == 2
    assert "tasks.jsonl has changed" in output


def test_a_run_by_the_plan_of_another_one_can_be_compared_with_it(
    options: list[str], tmp_path: Path, run_todobatch: RunTodobatch
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    assert finish(start(*options, "--blocks", "2", "-o", before))[0] == 0
    code, output = finish(start("bench", "--like", before, "-o", after, "--trust"))
    assert code == 0, output
    assert load_run(after).meta.plan == load_run(before).meta.plan
    taken = [(each.block, each.cell, each.digest) for each in load_run(after).samples]
    assert taken == [(each.block, each.cell, each.digest) for each in load_run(before).samples]
    compared = run_todobatch("compare", before, after)
    assert compared.returncode == 0, compared.stderr
    assert "B against A" in compared.stdout


def test_a_run_of_other_interpreters_is_not_resumed(options: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert finish(start(*options, "--blocks", "1", "-o", folder))[0] == 0
    path = folder / META
    meta = json.loads(path.read_text())
    meta["interpreters"]["3.14t"]["version"] = "3.14.0"
    meta["machine"]["cpu_model"] = "Another CPU"
    path.write_text(json.dumps(meta))
    code, output = finish(start("bench", "--resume", folder, "--trust"))
    assert code == 2
    assert "3.14t: version was '3.14.0'" in output
    assert "machine: cpu_model was 'Another CPU'" in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--workers", "0"], 2, "--workers: 0"),
        (["--workers", "10000"], 2, "--workers: 10000"),
        (["--workers", "two"], 2, "'two' is not a list of whole numbers"),
        (["--workloads", ""], 2, "--workloads: no name was given"),
        (["--quick", "--full"], 2, "exclude each other"),
        (["--interpreters", "3.14,3.99"], 4, "3.99"),
        (["--input", "no-such-file.txt"], 2, "no-such-file.txt"),
        (["--resume", "no-such-run"], 6, "no-such-run: this is not a run folder"),
        (["--resume", "no-such-run", "--blocks", "3"], 2, "keeps its own plan"),
        (["--like", "no-such-run"], 6, "no-such-run: this is not a run folder"),
        (
            ["--like", "no-such-run", "--blocks", "3"],
            2,
            "the new run has the plan of the other run",
        ),
        (["--trust"], 2, "--trust: it works only with --resume or --like"),
        (["--target", "much"], 2, "'much' is not a percentage"),
        (["--target", "2%x"], 2, "'2%x' is not a percentage"),
        (["--target", "200%"], 2, "--target: '200%' is 100% or more"),
    ],
)
def test_bad_input_ends_before_anything_is_measured(
    run_todobatch: RunTodobatch,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    done = run_todobatch("bench", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "remedy: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_workload_that_fails_by_itself_is_refused_before_it_is_compared(
    options: list[str], tmp_path: Path
) -> None:
    own = [each.replace(":length", ":raises") for each in options]
    code, output = finish(start(*own, "-o", tmp_path / "run"))
    assert code == 5
    assert "RuntimeError: no luck with" in output
    assert "todobatch run --generate 100 --seed 11 --workload mine:raises" in output
    assert not (tmp_path / "run").exists()


def test_a_workload_whose_output_varies_is_void_everywhere_and_given_up(
    options: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    own = [each.replace(":length", ":different") for each in options]
    code, output = finish(
        start(*own, "--workers", "2", "--interpreters", "3.14", "--blocks", "3", "-o", folder)
    )
    assert code == 5, output
    assert "all its samples are void: its output differs" in output
    samples = load_run(folder).samples
    # Two cells, three attempts each in the first block, none in the others.
    assert len(samples) == 2 * schedule.ATTEMPTS
    assert all("its output differs" in (each.void or "") for each in samples)
    assert "given up: mine:different/3.14/threads/2" in output
    assert "no valid sample yet" in output


def pyperf(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyperf", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_clock_that_jumps_changes_neither_order_nor_budget(
    mine: str,
    interpreters: dict[str, Interpreter],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wall clock goes back by a day at each reading."""
    from todobatch.lab.measure import bench, control, sample
    from todobatch.lab.plan.cells import Choice
    from todobatch.lab.progress import Silent

    class Backwards(dt.datetime):
        asked = 0

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Backwards":
            cls.asked += 1
            return cls(2026, 1, 31, tzinfo=tz) - dt.timedelta(days=cls.asked)

    for module in (bench, control, sample):
        jumping = types.SimpleNamespace(**{**vars(dt), "datetime": Backwards})
        monkeypatch.setattr(module, "dt", jumping)
    choice = Choice(
        workloads=(f"{mine}:length",), executors=("threads",), workers=(2,),
        interpreters=("3.14",), blocks=2, budget_s=120.0, target=0.0, seed=1, batch_size=5,
    )  # fmt: skip
    folder = tmp_path / "run"
    run = bench.begin(choice, Silent(), output=folder)
    started = [each.started for each in run.samples]
    assert len(started) == 4  # two cells in two blocks: the budget was not spent by the clock
    assert started == sorted(started, reverse=True)
    assert started[0] > started[-1]
    assert [each.number for each in load_run(folder).samples] == [0, 1, 2, 3]

    whole = (folder / SAMPLES).read_bytes().splitlines(keepends=True)
    (folder / SAMPLES).write_bytes(b"".join(whole[:3]))
    resumed = bench.resume(folder, Silent(), trust=True)
    assert [each.number for each in resumed.samples] == [0, 1, 2, 3]
    assert newest_run(tmp_path) == folder
