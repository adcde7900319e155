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


def thread_pool(work: Work, job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `concurrent.futures.ThreadPoolExecutor`."""
    _run(futures.ThreadPoolExecutor(job.workers), work, job, outcomes)


def interpreter_pool(work: Work, job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `concurrent.futures.InterpreterPoolExecutor`, which came with 3.14."""
    pool_class: Any = getattr(futures, "InterpreterPoolExecutor", None)
    if pool_class is None:
        outcomes.event("unavailable", reason="InterpreterPoolExecutor needs Python 3.14")
    else:
        _run(pool_class(job.workers), work, job, outcomes)


def process_pool(work: Work, job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `concurrent.futures.ProcessPoolExecutor`."""
    _run(futures.ProcessPoolExecutor(job.workers), work, job, outcomes)


def multiprocessing_pool(work: Work, job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `multiprocessing.Pool`."""
    import multiprocessing

    with multiprocessing.Pool(job.workers) as pool:
        # A timeout would include the start-up time of the workers, so they are started before.
        pool.map(int, range(job.workers))
        sent = [pool.apply_async(work, (number,)) for number in range(job.tasks)]
        _report_each((result.get for result in sent), outcomes, timeout=job.deadline_s)


def loky_executor(work: Work, job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `loky.get_reusable_executor`."""
    import loky

    _run(loky.get_reusable_executor(max_workers=job.workers), work, job, outcomes)


def joblib_parallel(work: Work, job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `joblib.Parallel` on its default backend, loky."""
    import joblib

    parallel = joblib.Parallel(
        n_jobs=job.workers, return_as="generator_unordered", timeout=job.deadline_s
    )
    # The timeout includes the start-up time of the workers, so they are started before.
    joblib.Parallel(n_jobs=job.workers)(joblib.delayed(int)(n) for n in range(job.workers))
    named = joblib.delayed(_named)
    for number, result in parallel(named(work, number) for number in range(job.tasks)):
        outcomes.result(number, result)


def mpire_pool(work: Work, job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `mpire.WorkerPool`."""
    import mpire

    with mpire.WorkerPool(n_jobs=job.workers) as pool:
        sent = [
            pool.apply_async(work, (number,), task_timeout=job.deadline_s)
            for number in range(job.tasks)
        ]
        _report_each((result.get for result in sent), outcomes)


def deadpool_executor(work: Work, job: DrillJob, outcomes: Outcomes) -> None:
    """Run the tasks in `deadpool.Deadpool` of the distribution deadpool-executor."""
    import deadpool

    pool = deadpool.Deadpool(max_workers=job.workers)
    _run(pool, work, job, outcomes, deadpool_timeout=job.deadline_s)


def _run(
    pool: futures.Executor, work: Work, job: DrillJob, outcomes: Outcomes, **options: Any
) -> None:
    """Submit each task with these options, until the pool breaks; report results as they come."""
    sent: dict[futures.Future[Any], int] = {}
    with pool:
        for number in range(job.tasks):
            try:
                sent[pool.submit(work, number, **options)] = number
            except futures.BrokenExecutor:
                break
        for future in futures.as_completed(sent):
            error = future.exception()
            if error is None:
                outcomes.result(sent[future], future.result())
            else:
                outcomes.failed(sent[future], describe_exception(error))


def _report_each(gets: Iterable[Callable[..., Any]], outcomes: Outcomes, **options: Any) -> None:
    """Wait for the result of each task in turn, by a call of its `get`, and report it."""
    for number, get in enumerate(gets):
        try:
            outcomes.result(number, get(**options))
        except BaseException as error:
            outcomes.failed(number, describe_exception(error))


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
