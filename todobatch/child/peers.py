"""Runs the drill's tasks on pools of other packages, as their documentation says.

Where a pool has futures, each task has one, so that one task can fail alone. Where a pool has a
timeout that can end a task, it is used. No pool retries a task. Packages are imported in functions,
because they need not be installed.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from todobatch.child.drill import DrillJob, Outcomes
from todobatch.model import describe_exception

Work = Callable[[int], Any]


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A pool of another package, and the function that runs the drill on it."""

    name: str
    use: str
    entry: str
    extra: bool
    """Whether the pool is not in the standard library and must be installed."""


def thread_pool(work: Work, tasks: Iterable[int], job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `concurrent.futures.ThreadPoolExecutor`."""
    with futures.ThreadPoolExecutor(job.workers) as pool:
        _report(_submit(pool.submit, work, tasks), outcomes)


def interpreter_pool(work: Work, tasks: Iterable[int], job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `concurrent.futures.InterpreterPoolExecutor`, which came with 3.14."""
    pool_class: Any = getattr(futures, "InterpreterPoolExecutor", None)
    if pool_class is None:
        outcomes.event("unavailable", reason="InterpreterPoolExecutor needs Python 3.14")
        return
    with pool_class(job.workers) as pool:
        _report(_submit(pool.submit, work, tasks), outcomes)


def process_pool(work: Work, tasks: Iterable[int], job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `concurrent.futures.ProcessPoolExecutor`."""
    with futures.ProcessPoolExecutor(job.workers) as pool:
        _report(_submit(pool.submit, work, tasks), outcomes)


def multiprocessing_pool(
    work: Work, tasks: Iterable[int], job: DrillJob, outcomes: Outcomes
) -> None:
    """Run the tasks in `multiprocessing.Pool`."""
    import multiprocessing

    with multiprocessing.Pool(job.workers) as pool:
        pool.map(
            int, range(job.workers)
        )  # a timeout would include the start-up time of the workers
        sent = [(number, pool.apply_async(work, (number,))) for number in tasks]
        for number, result in sent:
            try:
                outcomes.result(number, result.get(timeout=job.deadline_s))
            except BaseException as error:
                outcomes.failed(number, describe_exception(error))


def loky_executor(work: Work, tasks: Iterable[int], job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `loky.get_reusable_executor`."""
    import loky

    with loky.get_reusable_executor(max_workers=job.workers) as pool:
        _report(_submit(pool.submit, work, tasks), outcomes)


def joblib_parallel(work: Work, tasks: Iterable[int], job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `joblib.Parallel` on its default backend, loky."""
    import joblib

    parallel = joblib.Parallel(
        n_jobs=job.workers, return_as="generator_unordered", timeout=job.deadline_s
    )
    # The timeout includes the start-up time of the workers, so they are started before.
    joblib.Parallel(n_jobs=job.workers)(joblib.delayed(int)(n) for n in range(job.workers))
    named = joblib.delayed(_named)
    for number, result in parallel(named(work, number) for number in tasks):
        outcomes.result(number, result)


def mpire_pool(work: Work, tasks: Iterable[int], job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `mpire.WorkerPool`."""
    import mpire

    with mpire.WorkerPool(n_jobs=job.workers) as pool:
        sent = [
            (number, pool.apply_async(work, (number,), task_timeout=job.deadline_s))
            for number in tasks
        ]
        for number, result in sent:
            try:
                outcomes.result(number, result.get())
            except BaseException as error:
                outcomes.failed(number, describe_exception(error))


def deadpool_executor(work: Work, tasks: Iterable[int], job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `deadpool.Deadpool` of the distribution deadpool-executor."""
    import deadpool

    with deadpool.Deadpool(max_workers=job.workers) as pool:

        def submit(work: Work, number: int) -> "futures.Future[Any]":
            future: futures.Future[Any] = pool.submit(work, number, deadpool_timeout=job.deadline_s)
            return future

        _report(_submit(submit, work, tasks), outcomes)


def _submit(
    submit: Callable[[Work, int], "futures.Future[Any]"], work: Work, tasks: Iterable[int]
) -> "dict[futures.Future[Any], int]":
    """Submit each task, until the pool breaks."""
    sent: dict[futures.Future[Any], int] = {}
    for number in tasks:
        try:
            sent[submit(work, number)] = number
        except futures.BrokenExecutor:
            break
    return sent


def _report(sent: "Mapping[futures.Future[Any], int]", outcomes: Outcomes) -> None:
    """Report each result as it comes."""
    for future in futures.as_completed(sent):
        error = future.exception()
        if error is None:
            outcomes.result(sent[future], future.result())
        else:
            outcomes.failed(sent[future], describe_exception(error))


def _named(work: Work, number: int) -> tuple[int, Any]:
    return number, work(number)


_ALL = (
    PeerInfo("ThreadPoolExecutor", "submit and as_completed", "thread_pool", False),
    PeerInfo("InterpreterPoolExecutor", "submit and as_completed", "interpreter_pool", False),
    PeerInfo("ProcessPoolExecutor", "submit and as_completed", "process_pool", False),
    PeerInfo("multiprocessing.Pool", "apply_async and get(timeout)", "multiprocessing_pool", False),
    PeerInfo("loky", "get_reusable_executor, submit and as_completed", "loky_executor", True),
    PeerInfo("joblib", "Parallel, unordered generator, timeout", "joblib_parallel", True),
    PeerInfo("mpire", "apply_async with task_timeout, then get", "mpire_pool", True),
    PeerInfo(
        "deadpool", "submit with deadpool_timeout and as_completed", "deadpool_executor", True
    ),
)
PEERS: Mapping[str, PeerInfo] = MappingProxyType({each.name: each for each in _ALL})
