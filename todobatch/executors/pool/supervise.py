"""Starts the workers of a pool, kills those that are late and replaces those that died.

    Supervisor ── start_host ──► Host (a process, or a thread with a subinterpreter) ──► Worker
        ▲                                                                                  │
        └── dispatch reports which worker is ready or dead ◄── its socket and sentinel ────┘

Only the caller's thread uses the classes here, so nothing needs a lock.
"""

import atexit
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from time import perf_counter

from todobatch.errors import TodobatchError
from todobatch.executors.pool.worker import Host, PoolWorker
from todobatch.model import describe_exception
from todobatch.units import Ratio, Seconds

START_TIMEOUT_S: Seconds = 60.0
"""A worker that is not ready after this many seconds is killed."""
START_EACH_S: Seconds = 1.0
"""That limit is longer by this many seconds for each worker, because all may start at once."""
START_ATTEMPTS = 3
"""A pool stops starting workers when this many in a row died before they were ready. One worker
that the system refuses to start is also tried this many times."""
RETRY_START_S: Seconds = 0.05
"""The pause before the second attempt to start a worker; each further pause is twice as long."""
LONG_PAUSE: Ratio = 0.1
"""A pause of the caller longer than this share of the deadline does not count towards it."""
STOPS_KEPT = 16
"""The number of stops and long pauses that are known. Earlier ones concern no batch any more."""
END_GRACE_S: Seconds = 5.0
"""When a pool is closed, a worker is killed if its batch takes longer than this many seconds."""


class Supervisor:
    """Keeps the workers of one pool alive.

    `start_host` starts a worker's host on the given CPU (None for any) and `workers` says how many.
    `cpus` are the CPUs to spread them over; empty means that they may run anywhere. `did_not_start`
    makes the error to raise from its cause. `deadline_s` limits each batch, in seconds.
    """

    def __init__(
        self,
        start_host: Callable[[int | None], Host],
        workers: int,
        cpus: Sequence[int],
        did_not_start: Callable[[str], TodobatchError],
        deadline_s: Seconds | None = None,
    ) -> None:
        self._start_host = start_host
        self.size = workers
        self._cpus = cpus
        self._did_not_start = did_not_start
        self.deadline_s = deadline_s
        self.selector = selectors.DefaultSelector()
        self.workers: list[PoolWorker] = []
        self.attended = 0.0
        """When the caller, after a long pause, began to handle messages again."""
        self._seen = perf_counter()
        """When the caller last ran in here, or in `Pool`."""
        self._stops: deque[tuple[Seconds, Seconds]] = deque(maxlen=STOPS_KEPT)
        """Start and end of the latest stops of this process."""
        self._pauses: deque[tuple[Seconds, Seconds]] = deque(maxlen=STOPS_KEPT)
        """Start and end of the latest pauses that were longer than the deadline."""
        self._failed_starts = 0
        """Workers in a row that did not become ready."""
        self._cause = ""
        """Why the first of these workers did not become ready."""
        self._refused = False
        """Whether a further worker would not start either, because of the processor or a limit."""
        self._hangs = False
        """Whether a worker hangs in its start and cannot be killed."""

    def start(self) -> bool:
        """Start missing workers; returns whether some are missing or not ready."""
        self._failed_starts, self._cause, self._refused = 0, "", False
        while len(self.workers) < self.size and not self._failed_starts:
            self._add_worker()
        return self.starting()

    def starting(self) -> bool:
        """Return whether workers are not ready yet. Raises an error when no start will succeed."""
        if self._failed_starts >= (1 if self._refused else START_ATTEMPTS):
            raise self.start_error()
        return not all(worker.ready for worker in self.workers)

    def start_error(self) -> TodobatchError:
        """Return the error to raise when no worker can be started."""
        return self._did_not_start(self._cause)

    def report_ready(self, worker: PoolWorker, trouble: str) -> None:
        """Record that a worker is ready or, with a text, why it could not start."""
        if trouble:
            self._cause, self._refused = trouble, True
        else:
            worker.ready, self._failed_starts, self._cause = True, 0, ""

    def _add_worker(self) -> None:
        used = [worker.cpu for worker in self.workers]
        cpu = min(self._cpus, key=used.count, default=None)
        cause = ""
        for attempt in range(START_ATTEMPTS):
            try:
                host = self._start_host(cpu)
                break
            except (OSError, RuntimeError, EOFError) as error:
                # A system limit may be temporary, and a dead fork server is started again.
                cause = cause or describe_exception(error)  # later errors may follow from the first
                time.sleep(RETRY_START_S * 2**attempt)
        else:
            self._failed_starts += 1
            self._cause, self._refused = cause, True
            return
        worker = PoolWorker(host, host.link, host.page, perf_counter(), cpu)
        self.workers.append(worker)
        self.selector.register(worker.link, selectors.EVENT_READ, worker)
        if host.sentinel is not None:
            self.selector.register(host.sentinel, selectors.EVENT_READ, worker)
        atexit.unregister(self.stop)
        # It runs before multiprocessing's own handler, which would wait without end.
        atexit.register(self.stop)

    def _start_limit(self) -> Seconds:
        return START_TIMEOUT_S + START_EACH_S * len(self.workers)

    def note_pause(self) -> None:
        """Note that the caller is back from its own work, such as handling a result.

        After a long pause the deadlines of waiting workers begin anew. Other batches run on in a
        pause, so it counts. Only if it was longer than the whole deadline, this process may have
        been stopped; each batch is given the time of one such pause, not of more.
        """
        now = perf_counter()
        if self.deadline_s is not None and now - self._seen > LONG_PAUSE * self.deadline_s:
            self.attended = now
            if now - self._seen > self.deadline_s:
                self._pauses.append((self._seen, now))
        self._seen = now

    def note_wait(self, timeout: Seconds) -> None:
        """Note the end of a wait that began at the last check and was to last `timeout` seconds.

        If it lasted much longer, this process was stopped, as its machine was, and so probably were
        the workers. That time is excluded from all deadlines.
        """
        due, self._seen = self._seen + timeout, perf_counter()
        if self.deadline_s is not None and self._seen - due > LONG_PAUSE * self.deadline_s:
            self._stops.append((due, self._seen))

    def _stopped_s(self, since: Seconds) -> Seconds:
        paused = [end - max(begin, since) for begin, end in self._pauses if end > since]
        stopped = [end - max(begin, since) for begin, end in self._stops if end > since]
        return sum(stopped) + max(paused, default=0.0)

    def next_check(self) -> Seconds | None:
        """Return the seconds until a start or a batch may be late; None for never."""
        self.note_pause()
        now = self._seen
        times = [
            worker.started + self._start_limit() for worker in self.workers if not worker.ready
        ]
        if self.deadline_s is not None:
            # Often, because a stop shows in a check that is late.
            times.append(now + LONG_PAUSE * self.deadline_s)
            begun = [each.step_began(self.attended) for each in self.workers if not each.overdue]
            times += [
                since + self.deadline_s + self._stopped_s(since)
                for since in begun
                if since is not None
            ]
        return min(times) - now if times else None

    def kill_overdue(self) -> None:
        """Kill workers whose start or batch is late; the selector reports when they are dead."""
        self.note_pause()
        now = self._seen
        hanging: list[PoolWorker] = []
        for worker in self.workers:
            if not worker.ready:
                if now - worker.started > self._start_limit():
                    self._cause = f"it was not ready after {self._start_limit():g} s"
                    self._refused = True
                    if not worker.host.kill():
                        hanging.append(worker)
            elif self.deadline_s is not None and not worker.overdue:
                accepted, running, _ = worker.page.running()
                since = worker.step_began(self.attended)
                if since is not None and now - since - self._stopped_s(since) > self.deadline_s:
                    worker.overdue = (accepted, running)
                    worker.host.kill()
        for worker in hanging:  # another worker would hang as well
            self._failed_starts, self._hangs = START_ATTEMPTS, True
            self._remove(worker)

    def replace(self, worker: PoolWorker, ending: str) -> None:
        """Remove a dead worker and start another, unless too many in a row did not start."""
        if not worker.ready:
            self._failed_starts += 1
            self._cause = self._cause or f"it {ending}"
        self._remove(worker)
        if self._failed_starts < START_ATTEMPTS:
            self._add_worker()

    def _remove(self, worker: PoolWorker) -> None:
        self.selector.unregister(worker.link)
        if worker.host.sentinel is not None:
            self.selector.unregister(worker.host.sentinel)
        self.workers.remove(worker)
        worker.host.close()

    def stop(self) -> None:
        """End all workers. A process gets up to `END_GRACE_S` to finish its batch."""
        atexit.unregister(self.stop)
        grace = END_GRACE_S if self.deadline_s is None else min(END_GRACE_S, self.deadline_s)
        end = perf_counter() + grace
        try:
            for worker in self.workers:
                worker.link.close()  # ends an idle worker
                if self._hangs and not worker.ready:
                    worker.host.kill()  # its start may hang too
            sentinels = [each.host.sentinel for each in self.workers if each.ready]
            waiting = [each for each in sentinels if each is not None]
            while waiting and (ended := wait(waiting, max(end - perf_counter(), 0.0))):
                waiting = [each for each in waiting if each not in ended]
        finally:
            while self.workers:
                self.workers.pop().host.close()
            self.selector.close()
