"""Samples on the real interpreters: what they record, and what makes one void."""

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from todobatch import cgroup, runtime
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.measure.sample import Sampler, Slot, why_void, worked
from todobatch.lab.store.schema import Cell, Sample, WorkloadShape

pytestmark = pytest.mark.interpreters
SHAPE = WorkloadShape("validate", 8, 20)


@pytest.fixture
def sampler(interpreters: dict[str, Interpreter]) -> Iterator[Sampler]:
    taking = Sampler(interpreters, {"kind": "generator", "seed": 5}, "2026-11-24", timeout_s=60.0)
    yield taking
    taking.close()


def take(sampler: Sampler, cell: Cell, **shape: object) -> Sample:
    wanted = dataclasses.replace(SHAPE, workload=cell.workload, **shape)  # type: ignore[arg-type]
    return sampler.take(Slot(0, 3, cell), wanted, number=17)


@pytest.mark.parametrize("interpreter", ["3.14", "3.14t"])
@pytest.mark.parametrize(
    "executor", ["sequential", "threads", "interpreters", "processes", "coroutines"]
)
def test_a_sample_of_every_executor_holds_what_was_seen(
    sampler: Sampler, interpreter: str, executor: str
) -> None:
    workers = 1 if executor == "sequential" else 2
    sample = take(sampler, Cell("validate", interpreter, executor, workers))
    assert sample.void is None
    assert (sample.number, sample.block, sample.position) == (17, 0, 3)
    assert sample.gil_enabled is (interpreter == "3.14")
    assert (sample.tasks, sample.failed, sample.batches) == (160, 0, 8)
    assert 0 < sample.wall_s < sample.process_s
    assert sample.cpu_s > 0
    assert sample.peak_bytes > 1_000_000
    assert sample.peak_method
    assert len(sample.spans) == 8
    assert sorted(span[1] for span in sample.spans) == list(range(8))
    assert all(0 <= start <= end for _, _, start, end, *_ in sample.spans)
    for *_, queue, deserialise, serialise, back in sample.spans:
        assert min(queue, deserialise, serialise, back) >= 0
        if executor == "processes":
            assert min(deserialise, serialise) > 0
    assert sample.voluntary_switches is not None
    assert sample.cpu_quota == [cgroup.cpu_quota()] * 2
    started = {"sequential": "main", "threads": "thread", "interpreters": "interpreter",
               "processes": "forkserver", "coroutines": "coroutine"}  # fmt: skip
    for worker in sample.worker_totals:
        assert worker["start_method"] == started[executor]
        assert worker["allowed_before"] == worker["allowed_after"] == list(runtime.cpus_allowed())
    assert 1 <= worked(sample) <= workers
    assert sample.pyperf["value"] == sample.wall_s


def test_all_executors_and_interpreters_give_one_digest(sampler: Sampler) -> None:
    digests = {
        take(sampler, Cell("pipeline", interpreter, executor, 2)).digest
        for interpreter in ("3.14", "3.14t")
        for executor in ("threads", "processes")
    }
    assert len(digests) == 1


def test_a_sample_contains_no_name_of_user_or_machine(sampler: Sampler) -> None:
    sample = take(sampler, Cell("validate", "3.14", "sequential", 1))
    assert sample.pyperf.keys() <= {
        *("cpu_freq", "cpu_temp", "date", "duration", "load_avg_1min", "value")
    }
    assert str(Path.home()) not in repr(sample)


def test_a_gil_smuggled_into_a_free_threaded_interpreter_makes_the_sample_void(
    sampler: Sampler,
) -> None:
    spoiled = dataclasses.replace(sampler, extra_environment={"PYTHON_GIL": "1"})
    sample = take(spoiled, Cell("validate", "3.14t", "threads", 2))
    assert sample.gil_enabled
    assert sample.void is not None
    assert "the GIL was on in a free-threaded interpreter" in sample.void
    assert "worker thread-" in sample.void


def test_a_different_output_makes_the_sample_void(sampler: Sampler) -> None:
    sample = take(sampler, Cell("validate", "3.14", "threads", 2), digest="0" * 64)
    assert sample.void is not None
    assert f"digest {sample.digest[:12]}" in sample.void
    assert "sequential gave 000000000000" in sample.void


CHANGED_CLOCK = """
import time
from todobatch.coordinator import drive

true = time.perf_counter
time.perf_counter = drive.perf_counter = lambda: true() / 100


def waits(task):
    time.sleep(0.01)
"""


def test_a_workload_that_changes_the_clock_makes_the_sample_void(
    sampler: Sampler, mine: str
) -> None:
    Path("changed_clock.py").write_text(CHANGED_CLOCK)  # beside the module `mine`
    sample = take(sampler, Cell("changed_clock:waits", "3.14", "sequential", 1))
    assert mine
    assert sample.void is not None
    assert "the workload changed a clock" in sample.void


def test_a_workload_that_pins_itself_is_seen(sampler: Sampler, mine: str) -> None:
    sample = take(sampler, Cell(f"{mine}:pins_itself", "3.14", "sequential", 1))
    assert sample.void is None
    (worker,) = sample.worker_totals
    allowed = list(runtime.cpus_allowed())
    assert worker["allowed_before"] == allowed
    assert worker["allowed_after"] == allowed[:1]


def test_failed_tasks_make_the_sample_void(sampler: Sampler, mine: str) -> None:
    sample = take(sampler, Cell(f"{mine}:raises", "3.14", "threads", 2))
    assert sample.void is not None
    assert sample.void.startswith("160 tasks failed: processor mine:raises, batch ")
    assert "RuntimeError: no luck with" in sample.void


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("dies", "its process was killed (SIGKILL)"),
        ("gives_up_the_process", "its process ended with exit code 7: the reactor is hot"),
    ],
)
def test_a_process_that_dies_leaves_a_void_sample_without_figures(
    sampler: Sampler, mine: str, function: str, why: str
) -> None:
    sample = take(sampler, Cell(f"{mine}:{function}", "3.14t", "threads", 2))
    assert sample.void is not None
    assert sample.void.startswith(why)
    assert math.isnan(sample.wall_s)
    assert sample.digest == ""


def test_a_worker_that_was_replaced_makes_the_sample_void(sampler: Sampler, mine: str) -> None:
    """All tasks are done in the end, but the time includes the replacement."""
    sample = take(sampler, Cell(f"{mine}:dies_once", "3.14", "processes", 2))
    assert sample.failed == 0
    assert sample.void == "batches were retried 1 times, and 1 workers were replaced"


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_sample_that_hangs_is_ended_with_all_its_workers(
    sampler: Sampler, mine: str, executor: str
) -> None:
    impatient = dataclasses.replace(sampler, timeout_s=3.0)
    others = processes_that_name("todobatch.child.nursery")
    begun = time.monotonic()
    sample = take(impatient, Cell(f"{mine}:hangs", "3.14", executor, 2))
    assert sample.void == "it took longer than 3 s and was ended"
    assert time.monotonic() - begun < 60  # it did not wait for the sleep of ten minutes
    # A fork has the command line of its nursery, and only the nursery is left.
    assert len(processes_that_name("todobatch.child.nursery")) == len(others) + 1


def test_an_unknown_module_is_named_in_the_void(sampler: Sampler) -> None:
    sample = take(sampler, Cell("no.such.module:f", "3.14", "sequential", 1))
    assert sample.void is not None
    assert "no.such.module:f cannot be loaded" in sample.void
    assert "File " not in sample.void


def test_an_interpreter_replaced_under_the_run_makes_the_sample_void(
    python314: Interpreter,
) -> None:
    observed = {"version": "3.14.99", "worker_totals": []}
    void = why_void(observed, python314, SHAPE)
    assert void == f"it ran on Python 3.14.99, not {python314.facts['version']}"


def test_a_quota_that_changes_under_the_sample_makes_it_void(python314: Interpreter) -> None:
    observed = {
        "version": python314.facts["version"],
        "worker_totals": [],
        "gil_before": True,
        "gil_after": True,
        "cpu_quota": [None, 0.5],
    }
    void = why_void(observed, python314, SHAPE)
    assert void == "the CPU quota of its cgroup changed from none to 0.5 CPUs meanwhile"


def processes_that_name(text: str) -> list[str]:
    """Return the command lines of this test's descendants that contain `text`."""
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if text in line:
            found.append(line)
    return found
