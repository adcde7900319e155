"""What a task does to the event loop stays with that task, and nothing runs without end."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from todobatch.executors import EXECUTORS, coroutines
from todobatch.model import Batch, ProcessingResult, Task
from todobatch.processors import TaskBatchProcessor

Action = Callable[[], Awaitable[object]]
CANCELLED = "CancelledError: its coroutine was cancelled by the code of a task"


class Does(TaskBatchProcessor):
    """The task "act" runs the action; then each task lets the others run."""

    name = "does"

    def __init__(self, action: Action) -> None:
        super().__init__()
        self._action = action
        self.batches: set[asyncio.Task[object]] = set()
        self.left: list[object] = []

    def process_task(self, task: Task) -> str:
        pytest.fail("the asynchronous method is used")

    async def process_task_async(self, task: Task) -> str:
        self.batches.add(_me())
        if task.title == "act":
            self.left.append(await self._action())
        for _ in range(3):
            await asyncio.sleep(0)
        return task.title


def _me() -> "asyncio.Task[object]":
    me = asyncio.current_task()
    assert me is not None
    return me


def run(processor: Does, workers: int = 3) -> list[ProcessingResult]:
    """Run 20 batches of one task, of which batch 4 acts; returns the results in order."""
    batches = [Batch(n, (Task("act" if n == 4 else f"task {n}"),), n) for n in range(20)]
    try:
        results = list(EXECUTORS["coroutines"].run(processor, batches, workers=workers))
    finally:
        for task in processor.left:
            if isinstance(task, asyncio.Task) and task.done() and not task.cancelled():
                task.exception()  # otherwise Python 3.11 may fail where it frees the task and logs
    assert sorted(result.batch for result in results) == list(range(20))
    return sorted(results, key=lambda result: result.batch)


def failed(results: list[ProcessingResult]) -> dict[int, str]:
    return {result.batch: str(result.error) for result in results if not result.success}


async def raise_exit() -> None:
    sys.exit("no such user")


async def raise_interrupt() -> None:
    raise KeyboardInterrupt


async def gather_exit() -> None:
    await asyncio.gather(raise_exit(), asyncio.sleep(0))


async def leave_exit() -> object:
    return asyncio.create_task(raise_exit())


async def call_exit() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, "no such user")


async def stop() -> None:
    asyncio.get_running_loop().stop()


async def stop_again_and_again() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        loop.stop()
        loop.call_soon(again)

    again()


async def cancel_all_others() -> None:
    for task in asyncio.all_tasks() - {_me()}:
        task.cancel()


async def refuse_more_tasks() -> None:
    def refuse(*args: object, **more: object) -> asyncio.Task[object]:
        raise SystemExit("no more tasks")

    asyncio.get_running_loop().set_task_factory(refuse)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 3, 30])
@pytest.mark.parametrize(
    "action",
    [leave_exit, call_exit, stop, stop_again_and_again, cancel_all_others, refuse_more_tasks],
)
def test_what_a_task_does_to_the_loop_costs_no_batch(action: Action, workers: int) -> None:
    assert failed(run(Does(action), workers)) == {}


@pytest.mark.parametrize("workers", [1, 3])
def test_an_exit_in_a_task_of_the_loop_fails_the_batch_that_awaits_it(workers: int) -> None:
    found = failed(run(Does(gather_exit), workers))
    assert list(found) == [4]
    assert found[4].endswith("task 4 'act': SystemExit: no such user")


def test_a_keyboard_interrupt_outside_of_the_main_thread_costs_its_batch_only() -> None:
    async def gather() -> None:
        await asyncio.gather(raise_interrupt())

    with ThreadPoolExecutor(1) as pool:
        found = failed(pool.submit(run, Does(gather)).result())
    assert list(found) == [4]
    assert found[4].endswith("KeyboardInterrupt")


@pytest.mark.thread_unsafe(reason="only the main thread is interrupted")
@pytest.mark.parametrize("how", ["await", "leave", "call"])
def test_a_keyboard_interrupt_in_the_main_thread_ends_the_run(how: str) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    async def act() -> object:
        if how == "call":
            return asyncio.get_running_loop().call_soon(interrupt)
        if how == "await":
            await raise_interrupt()
        return asyncio.create_task(raise_interrupt())

    with pytest.raises(KeyboardInterrupt):
        run(Does(act))


def test_batches_that_another_task_cancels_fail_with_the_cause_and_the_rest_is_done() -> None:
    async def cancel_batches() -> None:
        for task in processor.batches - {_me()}:
            for _ in range(3):
                task.cancel()

    processor = Does(cancel_batches)
    found = failed(run(processor))
    assert 4 not in found
    assert 1 <= len(found) <= 2
    assert all(error.endswith(CANCELLED) for error in found.values())


def test_a_worker_that_is_cancelled_over_and_over_works_on() -> None:
    async def cancel_for_ever(victim: "asyncio.Task[object]") -> None:
        while True:
            victim.cancel()
            await asyncio.sleep(0)

    async def act() -> object:
        (other,) = processor.batches - {_me()}
        return asyncio.create_task(cancel_for_ever(other))

    processor = Does(act)
    found = failed(run(processor, workers=2))
    assert all(error.endswith(CANCELLED) for error in found.values())


def test_a_batch_finds_its_own_tasks_in_the_loop_and_no_others() -> None:
    async def others() -> int:
        mine = asyncio.create_task(asyncio.sleep(0))
        found = asyncio.all_tasks()
        await mine
        return len(found)

    processor = Does(others)
    assert failed(run(processor)) == {}
    assert processor.left == [1]


@pytest.mark.thread_unsafe(reason="it collects what is logged")
def test_the_exit_of_a_callback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    run(Does(call_exit))
    (record,) = caplog.records
    assert record.message.startswith("a callback of the event loop raised SystemExit")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], SystemExit)


def test_nothing_waits_for_a_thread_that_a_task_has_left() -> None:
    go, seen = threading.Event(), threading.Event()

    def hang() -> None:
        seen.set()
        go.wait()

    async def act() -> object:
        return asyncio.get_running_loop().run_in_executor(None, hang)

    try:
        assert failed(run(Does(act))) == {}
        assert seen.wait(60)
    finally:
        go.set()


async def ignore_everything() -> None:
    while True:
        with suppress(BaseException):
            await asyncio.sleep(5)


async def leave_stubborn() -> None:
    task = asyncio.create_task(ignore_everything())
    await asyncio.sleep(0)
    del task


async def leave_generator() -> object:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1000)

    generator = numbers()
    await anext(generator)
    return generator


@pytest.mark.thread_unsafe(reason="it changes a constant")
@pytest.mark.parametrize("action", [leave_stubborn, leave_generator])
def test_what_never_ends_is_abandoned_at_the_end(
    action: Action, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(coroutines, "END_S", 0.05)
    assert failed(run(Does(action))) == {}
    (record,) = caplog.records
    assert "did not end within 0.05 s" in record.message


@pytest.mark.thread_unsafe(reason="it changes a constant")
def test_a_batch_that_never_ends_is_abandoned_where_its_run_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(coroutines, "END_S", 0.05)
    batches = [Batch(n, (Task("act" if n == 0 else "a"),), n) for n in range(9)]
    with EXECUTORS["coroutines"].open(Does(ignore_everything), 2) as opened:
        assert next(iter(opened(batches))).batch == 1
    assert len(caplog.records) == 1


def test_a_background_task_has_time_to_end() -> None:
    ended = []

    async def tidy() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def act() -> object:
        return asyncio.create_task(tidy())

    assert failed(run(Does(act))) == {}
    assert ended == [True]


def test_an_exit_in_the_input_reaches_the_caller() -> None:
    class Batches:
        def __iter__(self) -> "Batches":
            return self

        def __next__(self) -> Batch:
            raise SystemExit("the input is at fault")

    runner = EXECUTORS["coroutines"].run(Does(stop), Batches(), workers=2)
    with pytest.raises(SystemExit, match="the input is at fault"):
        list(runner)
