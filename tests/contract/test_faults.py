"""Executors that isolate faults keep their promise: a fault costs only its own batch."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import contract_work
import pytest

from todobatch.executors import EXECUTORS, MAX_IN_FLIGHT, Executor
from todobatch.model import Batch, ProcessingResult, Task
from todobatch.processors import TaskValidator

from .conftest import TODAY

Titled = Callable[[Sequence[Sequence[str]]], list[Batch]]
ISOLATING = [name for name, each in EXECUTORS.items() if each.capabilities.isolates_crashes]
STOPPING = [name for name, each in EXECUTORS.items() if each.capabilities.enforces_deadlines]
DEADLINE_S = 3.0  # far above what a batch here takes on the slowest machine


@pytest.fixture(params=ISOLATING)
def isolating(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param]


@pytest.fixture(params=STOPPING)
def stopping(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param]


def once_each(results: Sequence[ProcessingResult], count: int) -> dict[int, ProcessingResult]:
    """Return the results by batch, and check that each of `count` batches gave exactly one."""
    assert sorted(result.batch for result in results) == list(range(count))
    return {result.batch: result for result in results}


def test_processes_isolate_and_stop() -> None:
    assert ISOLATING == STOPPING == ["processes"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("kill", "SIGKILL"),
        ("segfault", "SIGSEGV"),
        ("read address 0", "SIGSEGV"),
        ("leave", "ended with exit code 3"),
    ],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_a_crash_costs_its_batch_only(
    isolating: Executor, titled: Titled, how: str, said: str, workers: int
) -> None:
    titles = [[f"{n}"] for n in range(300)]
    titles[100] = ["fine", how, "never reached"]
    results = list(isolating.run(contract_work.Picky(), titled(titles), workers=workers))
    by_batch = once_each(results, 300)
    failed = by_batch.pop(100)
    assert (failed.fault, failed.success, failed.tasks, failed.tasks_processed) == (
        *("crashed", False, 3, 0),
    )
    assert said in str(failed.error)
    assert "batch 100 (tasks 100 to 102)" in str(failed.error)
    assert all(result.success and result.fault is None for result in by_batch.values())


def test_many_crashes_cost_as_many_batches(isolating: Executor, titled: Titled) -> None:
    titles = [["kill"] if n % 7 == 3 else [f"{n}"] for n in range(60)]
    results = list(isolating.run(contract_work.Picky(), titled(titles), workers=2))
    crashed = {n for n, result in once_each(results, 60).items() if result.fault == "crashed"}
    assert crashed == set(range(3, 60, 7))
    assert sum(result.success for result in results) == 60 - len(crashed)


def test_what_was_queued_behind_a_crash_runs_on_the_replacement(
    isolating: Executor, tmp_path: Path
) -> None:
    queued = tmp_path / "queued"

    def feed() -> Iterator[Batch]:
        yield Batch(0, (Task(f"kill when there is {queued}"),), 0)
        yield Batch(1, (Task("a"),), 1)
        yield Batch(2, (Task("b"),), 2)

    with isolating.open(contract_work.Picky(), 1) as run:
        results = run(_touching(feed(), 1, queued))
        by_batch = once_each(list(results), 3)
    assert by_batch[0].fault == "crashed"
    assert by_batch[1].success
    assert by_batch[2].success


def _touching(feed: Iterator[Batch], taken: int, path: Path) -> Iterator[Batch]:
    """Yield the same batches, and make a file when more than `taken` have been read."""
    for n, batch in enumerate(feed):
        if n == taken:
            path.touch()
        yield batch


def test_a_worker_killed_from_outside_between_runs_costs_nothing(
    isolating: Executor, titled: Titled
) -> None:
    batches = titled([[f"{n}"] for n in range(20)])
    with isolating.open(contract_work.Picky(), 2) as run:
        pids = {result.seen.pid for result in run(batches)}
        for pid in pids:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        results = list(run(batches))
    assert all(result.success for result in once_each(results, 20).values())
    assert not pids & {result.seen.pid for result in results}


def test_a_hanging_batch_is_stopped_at_its_deadline(stopping: Executor, titled: Titled) -> None:
    titles = [[f"{n}"] for n in range(40)]
    titles[5] = ["hang"]
    titles[20] = ["hang"]
    with stopping.open(contract_work.Picky(), 2, deadline_s=DEADLINE_S) as run:
        by_batch = once_each(list(run(titled(titles))), 40)
        again = list(run(titled([["a"], ["b"]])))
    assert {n for n, result in by_batch.items() if result.fault == "deadline"} == {5, 20}
    assert "deadline of 3 s" in str(by_batch[5].error)
    assert sum(result.success for result in by_batch.values()) == 38
    assert [result.success for result in again] == [True, True]


def test_the_deadline_counts_from_the_beginning_of_the_batch(
    stopping: Executor, titled: Titled
) -> None:
    """Six batches of 0.5 s queue for longer than the deadline, and all are done."""
    titles = [["nap"] for _ in range(6)]
    with stopping.open(contract_work.Picky(), 1, deadline_s=2.0) as run:
        results = list(run(titled(titles)))
    assert [result.fault for result in results] == [None] * 6


def test_what_waits_behind_a_hanging_batch_goes_to_others(
    isolating: Executor, titled: Titled, tmp_path: Path
) -> None:
    """One of two workers waits until all other batches are done, so the other must run them."""
    gate = tmp_path / "others are done"
    titles = [[f"wait for {gate}"], *([f"{n}"] for n in range(9))]
    others = 0
    with isolating.open(contract_work.Picky(), 2) as run:
        for result in run(titled(titles)):
            assert result.success
            others += result.batch != 0
            if others == 9:
                gate.touch()
    assert others == 9


def test_a_batch_that_cannot_be_pickled_or_unpickled_fails_alone(isolating: Executor) -> None:
    strange: dict[int, object] = {
        3: lambda: 0,
        8: contract_work.Unloadable(),
        12: contract_work.Poison(),
    }
    batches = [Batch(n, (Task(strange.get(n, "fine")),), n) for n in range(200)]  # type: ignore[arg-type]
    with isolating.open(TaskValidator(today=TODAY), 2) as run:
        list(run(batches[20:]))  # short batches: by now several travel together
        by_batch = once_each(list(run(batches)), 200)
    failed = {n: result for n, result in by_batch.items() if result.tasks_processed == 0}
    assert sorted(failed) == [3, 8, 12]
    assert "pickle" in str(failed[3].error)
    assert "not in this process" in str(failed[8].error)
    assert failed[12].fault == "crashed"
    assert failed[3].fault is failed[8].fault is None


def test_batches_that_cannot_be_sent_do_not_pile_up(isolating: Executor) -> None:
    taken = 0

    def feed() -> Iterator[Batch]:
        nonlocal taken
        while True:
            yield Batch(taken, (Task(lambda: 0),), taken)  # type: ignore[arg-type]
            taken += 1

    with isolating.open(TaskValidator(today=TODAY), 1) as run:
        results = run(feed())
        for received, result in enumerate(itertools.islice(results, 1_000), start=1):
            assert not result.success
            assert taken + 1 - received <= MAX_IN_FLIGHT
        results.close()  # type: ignore[attr-defined]
    assert received == 1_000


def test_a_result_that_cannot_be_sent_fails_alone(isolating: Executor, titled: Titled) -> None:
    titles = [[f"{n}"] for n in range(100)]
    titles[50] = ["lambda"]
    results = list(isolating.run(contract_work.BadPartial(), titled(titles), workers=2))
    (failed,) = [each for each in once_each(results, 100).values() if not each.success]
    assert failed.batch == 50
    assert "pickle" in str(failed.error)


@pytest.mark.parametrize(
    ("how", "fault", "culprit"),
    [
        *(("die in pickling", "crashed", place) for place in (100, 107, 119)),
        ("hang in pickling", "deadline", 100),
    ],
)
def test_a_result_that_breaks_its_worker_in_pickling_is_to_blame_and_no_other(
    stopping: Executor, titled: Titled, how: str, fault: str, culprit: int
) -> None:
    """Results of short batches are sent together, so any of them may be the one that breaks."""
    titles = [[f"{n}"] for n in range(300)]
    titles[culprit] = [how]
    work = contract_work.DeadlyPartial()
    results = list(stopping.run(work, titled(titles), workers=1, deadline_s=DEADLINE_S))
    by_batch = once_each(results, 300)
    assert {n: each.fault for n, each in by_batch.items() if each.fault} == {culprit: fault}
    assert sum(each.success for each in by_batch.values()) == 299


def test_results_larger_than_any_pipe_pass_both_ways_at_once(isolating: Executor) -> None:
    text = "x" * 3_000_000
    batches = [Batch(n, (Task(text),), n) for n in range(12)]
    results = list(isolating.run(contract_work.Picky(), batches, workers=2, keep_rows=True))
    assert all(result.rows == (text,) for result in once_each(results, 12).values())


def test_what_a_caller_left_behind_is_not_in_the_next_run(
    isolating: Executor, titled: Titled
) -> None:
    with isolating.open(contract_work.Picky(), 2) as run:
        for _ in range(100):  # more messages than there are flags to take them back
            left = run(titled([[f"{n}"] for n in range(50)]))
            next(left)
            left.close()  # type: ignore[attr-defined]
        results = list(run(titled([["a", "b"], ["c"]])))
    assert [once_each(results, 2)[n].tasks for n in (0, 1)] == [2, 1]


def test_handing_over_is_measured(isolating: Executor, titled: Titled) -> None:
    results = list(isolating.run(contract_work.Picky(), titled([["a"]] * 20), workers=2))
    for seen in [result.seen for result in once_each(results, 20).values()]:
        assert min(seen.queue_s, seen.deserialise_s, seen.serialise_s, seen.return_s) > 0


@pytest.mark.parametrize("how", ["hang", "hold the GIL"])
def test_workers_end_when_their_caller_is_killed(tmp_path: Path, how: str) -> None:
    """Workers end even in the middle of a batch, so the pipe that this test reads is closed."""
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(
            """
            import os
            import sys
            import contract_work
            from todobatch.executors import get
            from todobatch.model import Batch, Task

            def feed():
                yield Batch(0, (Task("a"),))
                for n in range(1, 9):
                    yield Batch(n, (Task(sys.argv[1]),), n)

            if __name__ == "__main__":
                with get("processes").open(contract_work.Picky(), 2) as run:
                    for result in run(feed()):
                        os.write(1, b"up\\n")  # in one piece, between those of the workers
            """
        )
    )
    modules = Path(contract_work.__file__).parent
    path = os.pathsep.join([str(modules), *[each for each in sys.path if each]])
    with subprocess.Popen(
        [sys.executable, str(script), how],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    ) as caller:
        assert caller.stdout is not None
        try:
            waited_for = {"up\n", *(["holding\n"] if how == "hold the GIL" else [])}
            while waited_for:  # from one worker, or from both
                line = caller.stdout.readline()
                assert line, "it ended by itself"
                waited_for.discard(line)
        finally:
            caller.kill()
        caller.stdout.read()  # returns when the last of them is gone
    assert caller.returncode == -signal.SIGKILL
