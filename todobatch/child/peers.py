"""Other people's pools under the drill, each used as its documentation says for a list of tasks.

Each has its own means switched on: a future a task where there are futures, so that one failure is
one task's; its own timeout where it has one that can end a task. None of them retries a task. The
imports are inside, since a peer need not be installed.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from todobatch.child.drill import DrillJob, Tell
from todobatch.model import describe_exception

Work = Callable[[int], Any]


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One pool, and in one line how it is used here."""

    name: str
    use: str
    entry: str
    extra: bool
    """It must be installed (the extra `peers`)."""


def thread_pool(work: Work, tasks: Iterable[int], job: DrillJob, tell: Tell) -> None:
    """`concurrent.futures.ThreadPoolExecutor`."""
    with futures.ThreadPoolExecutor(job["workers"]) as pool:
        _take(_submit(pool.submit, work, tasks), tell)


def interpreter_pool(work: Work, tasks: Iterable[int], job: DrillJob, tell: Tell) -> None:
    """`concurrent.futures.InterpreterPoolExecutor`, from 3.14 on."""
    pool_class: Any = getattr(futures, "InterpreterPoolExecutor", None)
    if pool_class is None:
        tell.event("unavailable", reason="InterpreterPoolExecutor needs Python 3.14")
        return
    with pool_class(job["workers"]) as pool:
        _take(_submit(pool.submit, work, tasks), tell)


def process_pool(work: Work, tasks: Iterable[int], job: DrillJob, tell: Tell) -> None:
    """`concurrent.futures.ProcessPoolExecutor`."""
    with futures.ProcessPoolExecutor(job["workers"]) as pool:
        _take(_submit(pool.submit, work, tasks), tell)


def multiprocessing_pool(work: Work, tasks: Iterable[int], job: DrillJob, tell: Tell) -> None:
    """`multiprocessing.Pool`."""
    import multiprocessing

    with multiprocessing.Pool(job["workers"]) as pool:
        pool.map(int, range(job["workers"]))  # a timeout would count the start of the workers
        sent = [(number, pool.apply_async(work, (number,))) for number in tasks]
        for number, result in sent:
            try:
                tell.result(number, result.get(timeout=job["deadline_s"]))
            except BaseException as error:
                tell.failed(number, describe_exception(error))


def loky_executor(work: Work, tasks: Iterable[int], job: DrillJob, tell: Tell) -> None:
    """`loky.get_reusable_executor`."""
    import loky

    with loky.get_reusable_executor(max_workers=job["workers"]) as pool:
        _take(_submit(pool.submit, work, tasks), tell)


def joblib_parallel(work: Work, tasks: Iterable[int], job: DrillJob, tell: Tell) -> None:
    """`joblib.Parallel` on its default backend, loky."""
    import joblib

    parallel = joblib.Parallel(
        n_jobs=job["workers"], return_as="generator_unordered", timeout=job["deadline_s"]
    )
    # Its timeout counts the start of the workers too, so they are started before.
    joblib.Parallel(n_jobs=job["workers"])(joblib.delayed(int)(n) for n in range(job["workers"]))
    named = joblib.delayed(_named)
    for number, result in parallel(named(work, number) for number in tasks):
        tell.result(number, result)


def mpire_pool(work: Work, tasks: Iterable[int], job: DrillJob, tell: Tell) -> None:
    """`mpire.WorkerPool`."""
    import mpire

    with mpire.WorkerPool(n_jobs=job["workers"]) as pool:
        sent = [
            (number, pool.apply_async(work, (number,), task_timeout=job["deadline_s"]))
            for number in tasks
        ]
        for number, result in sent:
            try:
                tell.result(number, result.get())
            except BaseException as error:
                tell.failed(number, describe_exception(error))


def deadpool_executor(work: Work, tasks: Iterable[int], job: DrillJob, tell: Tell) -> None:
    """`deadpool.Deadpool`, of the distribution deadpool-executor."""
    import deadpool

    with deadpool.Deadpool(max_workers=job["workers"]) as pool:

        def submit(work: Work, number: int) -> "futures.Future[Any]":
            future: futures.Future[Any] = pool.submit(
                work, number, deadpool_timeout=job["deadline_s"]
            )
            return future

        _take(_submit(submit, work, tasks), tell)


def _submit(
    submit: Callable[[Work, int], "futures.Future[Any]"], work: Work, tasks: Iterable[int]
) -> "dict[futures.Future[Any], int]":
    """A future a task. A pool that breaks meanwhile takes no more of them."""
    sent: dict[futures.Future[Any], int] = {}
    for number in tasks:
        try:
            sent[submit(work, number)] = number
        except futures.BrokenExecutor:
            break
    return sent


def _take(sent: "Mapping[futures.Future[Any], int]", tell: Tell) -> None:
    """Tell of each as it comes, as the documentation's own example does."""
    for future in futures.as_completed(sent):
        error = future.exception()
        if error is None:
            tell.result(sent[future], future.result())
        else:
            tell.failed(sent[future], describe_exception(error))


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
