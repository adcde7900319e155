"""Any exception of a wrapped pool, at any time, becomes an error with a remedy."""

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from todobatch import Recovery, Task, run_batches
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors import Wrapped


class Breaks(ThreadPoolExecutor):
    """A pool that breaks at its third batch, as a pool of processes does when one dies."""

    taken = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **more: Any) -> "Future[Any]":
        if args:  # a batch, and no first call to see whether it works
            self.taken += 1
            if self.taken == 3:
                raise BrokenExecutor("a worker died")
        return super().submit(fn, *args, **more)


class Refuses(Breaks):
    """A pool that refuses one batch, and raises when it is shut down."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **more: Any) -> "Future[Any]":
        if args and args[2].index == 5:
            raise RuntimeError("no batch with a five in it")
        return super(Breaks, self).submit(fn, *args, **more)

    def shutdown(self, *args: Any, **more: Any) -> None:
        super().shutdown(*args, **more)
        raise RuntimeError("it does not like to go")


class Cancels(Breaks):
    """A pool that cancels one batch."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **more: Any) -> "Future[Any]":
        if not args or args[2].index != 5:
            return super(Breaks, self).submit(fn, *args, **more)
        future: Future[Any] = Future()
        future.cancel()
        return future


def test_a_pool_that_cannot_be_started_anew_is_an_error_with_a_remedy() -> None:
    made = 0

    def make(workers: int) -> ThreadPoolExecutor:
        nonlocal made
        made += 1
        if made == 2:
            raise OSError("no more of them")
        return Breaks(workers)

    with pytest.raises(ExecutorUnavailableError) as raised:
        run_batches([Task("a")] * 9, "validate", executor=Wrapped(make, "mine"), batch_size=1)
    assert raised.value.cause == "the wrapped pool did not start: OSError: no more of them"
    assert raised.value.place == "executor mine"
    assert made == 2


def test_a_new_pool_that_breaks_at_once_is_the_same_error() -> None:
    made = 0

    class Dead(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **more: Any) -> "Future[Any]":
            raise BrokenExecutor("it was dead before it began")

    def make(workers: int) -> ThreadPoolExecutor:
        nonlocal made
        made += 1
        return Breaks(workers) if made == 1 else Dead(workers)

    with pytest.raises(ExecutorUnavailableError, match="it was dead before it began"):
        run_batches([Task("a")] * 9, "validate", executor=Wrapped(make), batch_size=1)


@pytest.mark.parametrize(
    ("kind", "said"), [(Refuses, "no batch with a five in it"), (Cancels, "CancelledError")]
)
def test_a_pool_that_will_not_run_a_batch_costs_that_batch(
    kind: type[ThreadPoolExecutor], said: str
) -> None:
    report = run_batches(
        [Task(f"{n}") for n in range(9)], "validate", executor=Wrapped(kind), batch_size=1,
        recovery=Recovery(retries=0),
    )  # fmt: skip
    assert (report.tasks, report.failed, report.set_aside) == (9, 1, 1)
    assert said in report.set_aside_tasks[0].error
