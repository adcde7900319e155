"""What happens when an open executor is used in a way that it does not allow."""

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from todobatch.errors import UsageError
from todobatch.executors import Executor
from todobatch.model import Batch, Task
from todobatch.processors import TaskValidator

COUNT = 40


def some(count: int = COUNT, *, first: int = 0) -> list[Batch]:
    return [Batch(n, (Task(f"task {n}"),), n) for n in range(first, first + count)]


def test_a_second_run_at_once_is_refused_and_the_first_goes_on(executor: Executor) -> None:
    with executor.open(TaskValidator(), 2) as run:
        first = run(some())
        seen = [next(first).batch]
        with pytest.raises(UsageError, match="runs other batches at present"):
            next(run(some(first=COUNT)))
        seen += [result.batch for result in first]
        assert sorted(seen) == list(range(COUNT))
        assert sorted(each.batch for each in run(some(5))) == list(range(5))


def test_an_input_may_not_use_the_executor_that_reads_it(executor: Executor) -> None:
    with executor.open(TaskValidator(), 2) as run:

        def reading() -> Iterator[Batch]:
            yield from some(3)
            yield from (Batch(result.batch, ()) for result in run(some(2)))

        with pytest.raises(UsageError, match="runs other batches at present"):
            list(run(reading()))
        assert sorted(each.batch for each in run(some(5))) == list(range(5))


def test_two_threads_may_not_run_batches_at_once(executor: Executor) -> None:
    reading, tried = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def slow() -> Iterator[Batch]:
        reading.set()
        assert tried.wait(60)
        yield from some(3)

    with executor.open(TaskValidator(), 2) as run:

        def other() -> None:
            assert reading.wait(60)
            try:
                list(run(some()))
            except UsageError as error:
                errors.append(error)
            finally:
                tried.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert sorted(result.batch for result in run(slow())) == [0, 1, 2]
        thread.join()
    assert len(errors) == 1


def test_a_run_that_is_dropped_leaves_nothing_to_the_next(executor: Executor) -> None:
    with executor.open(TaskValidator(), 2) as run:
        for _ in range(3):
            dropped = run(some())
            next(dropped)
            del dropped
            assert sorted(each.batch for each in run(some(9, first=100))) == [*range(100, 109)]


def test_the_block_may_be_left_in_the_middle_of_a_run(executor: Executor) -> None:
    with executor.open(TaskValidator(), 2) as run:
        results = run(some(1000))
        next(results)
    with pytest.raises(UsageError, match="is closed"):
        list(results)


def test_an_error_in_the_block_ends_it_too(executor: Executor) -> None:
    def fail() -> None:
        with executor.open(TaskValidator(), 2) as run:
            for _ in run(some(1000)):
                raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        fail()


def test_a_closed_executor_runs_nothing(executor: Executor) -> None:
    with executor.open(TaskValidator(), 2) as run:
        list(run(some(3)))
    with pytest.raises(UsageError, match="is closed"):
        list(run(some(3)))


def test_what_was_read_comes_back_before_the_error_of_the_input(executor: Executor) -> None:
    def broken() -> Iterator[Batch]:
        yield from some(10)
        raise LookupError("the input is broken")

    seen: list[int] = []
    with executor.open(TaskValidator(), 2) as run:
        results = (result.batch for result in run(broken()))
        with pytest.raises(LookupError, match="the input is broken"):
            seen.extend(results)
    assert sorted(seen) == list(range(10))


def test_the_block_may_be_left_while_another_thread_waits_for_a_result(executor: Executor) -> None:
    """It gets an error when the batches in flight have finished; an endless input ends, too."""
    begun = threading.Event()
    errors: list[BaseException] = []

    def endless() -> Iterator[Batch]:
        for n in count():
            yield Batch(n, (Task(f"task {n}"),), n)

    with executor.open(TaskValidator(), 2) as run:

        def read() -> None:
            try:
                for _ in run(endless()):
                    begun.set()
            except UsageError as error:
                errors.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        assert begun.wait(60)
    thread.join(60)
    assert not thread.is_alive()
    assert len(errors) == 1


def test_no_more_is_read_after_an_input_has_raised(executor: Executor) -> None:
    class Broken(Iterator[Batch]):
        read = 0

        def __next__(self) -> Batch:
            self.read += 1
            if self.read == 3:
                raise LookupError("the input is broken")
            return Batch(self.read, (Task("a"),), self.read)

    batches = Broken()
    with executor.open(TaskValidator(), 2) as run, pytest.raises(LookupError):
        list(run(batches))
    assert batches.read == 3
