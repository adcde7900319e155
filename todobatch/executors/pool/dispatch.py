"""Sends batches to the workers of a pool and receives their results.

    feed ──► message (1 or more batches) ──► socket of worker 1 ──► results ──► caller
                                         ──► socket of worker n ──►

The caller's thread sends, receives and replaces workers. It blocks only while it waits for all
sockets at once. Nothing on this side needs a lock; `page` says what guards the pages.

Each worker has one or two messages waiting, so it need not wait for the caller. Short batches share
a message, as many as make up `MESSAGE_S` of work. When a worker dies, its waiting messages go to
others. When a worker is idle at the input's end, it gets waiting messages and batches of others.

When a worker dies, its page names the batch that it was running: that batch fails. The failed
result names the task too, unless the processor has a `process_batch` of its own. Results that the
worker had not sent, at most `FLUSH_S` of work, are lost, and their batches run again. So a batch
gives exactly one result, but may run more than once.
"""

import math
import selectors
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from time import perf_counter

from todobatch.executors.pool import wire
from todobatch.executors.pool.charges import Charges
from todobatch.executors.pool.page import Page
from todobatch.executors.pool.supervise import Supervisor
from todobatch.executors.pool.transport import FROM_WORKER, READY, TO_WORKER
from todobatch.executors.pool.worker import STUCK_S, Message, PoolWorker
from todobatch.executors.stats import WorkerStats, add_stats
from todobatch.model import Batch, Fault, ProcessingResult, TaskFailure, describe_exception
from todobatch.processors.base import failed_result, task_failure
from todobatch.units import Seconds

MESSAGE_S: Seconds = 0.008
"""A message has batches for about this many seconds. Sending a message costs some 50 µs."""
MOST_IN_MESSAGE = 32
"""A message has at most this many batches."""
MESSAGE_BYTES = 1_000_000
"""The expected size of a message of several batches is at most this. Larger ones need fresh memory,
which the system clears first: that is several times slower than memory that is used again."""
QUEUED = 3
"""A worker has at most this many messages in flight, or one fewer where batches are long."""
LONGEST_WAIT_S: Seconds = 3600.0
"""A wait lasts at most this long, because the system takes no timeout of months."""
READ_BYTES = 1 << 18
"""The caller reads at most this many bytes from a socket at once."""


class Pool:
    """The workers of one `Executor.open`. Call the pool to run batches, in one thread at a time.

    `processor_id` names the processor in failed results.
    """

    def __init__(self, supervisor: Supervisor, processor_id: str) -> None:
        self._supervisor = supervisor
        self._workers = supervisor.workers
        self._selector = supervisor.selector
        self._processor_id = processor_id
        # Shared by all sockets, because `recv` would allocate as much memory for each call.
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._batch_bytes = 1.0
        """The size of a batch, estimated from the latest messages."""
        self._batch_s: Seconds | None = None
        """The time that a batch needs, estimated from the latest ones."""
        self._due_in: Callable[[], Seconds | None] = lambda: None
        """The input's own `due_in`: in how many seconds an input that ended may have more."""
        self._exhausted = False
        self._feed_error: Exception | None = None
        """What reading the input raised."""
        self._requeued: deque[list[Batch]] = deque()
        """Batches that are sent before new ones, a message each."""
        self._finished: list[ProcessingResult] = []
        self.stats: tuple[WorkerStats, ...] = ()
        self._stats_by_worker: dict[str, WorkerStats] = {}
        """What workers did in this run; each is added when it dies or the run ends."""
        self._begun = 0.0
        self._charges = Charges(supervisor.deadline_s)

    def __call__(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        """Run the batches, and yield a result for each; see `Executor.open`."""
        yield from self._run(batches)
        for worker in [each for each in self._workers if each.host.label]:
            add_stats(self._stats_by_worker, worker.stats(self._begun))
        self.stats = tuple(self._stats_by_worker.values())

    def start(self) -> None:
        """Start the workers that are missing and wait until all are ready."""
        starting = self._supervisor.start()
        while starting:
            self._wait(self._until_next_check())
            self._supervisor.kill_overdue()
            starting = self._supervisor.starting()

    def _run(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        feed = iter(batches)
        self._due_in = getattr(batches, "due_in", lambda: None)
        self._exhausted, self._feed_error = False, None
        self._begun = perf_counter()
        self._stats_by_worker.clear()
        for worker in self._workers:
            worker.busy = 0.0
        if len(self._workers) < self._supervisor.size:
            self.start()
        try:
            while True:
                self._dispatch(feed)
                if not self._finished:
                    in_flight = any(worker.messages for worker in self._workers)
                    if self._exhausted and not self._requeued and not in_flight:
                        break
                    self._wait(self._until_next_check())
                    self._supervisor.kill_overdue()
                    self._ask_for_more()
                    self._dispatch(feed)  # workers run on while the caller handles the results
                finished, self._finished = self._finished, []
                yield from finished
                self._supervisor.note_pause()
                self._ask_for_more()
            if self._feed_error is not None:
                raise self._feed_error
        finally:
            self._abandon()

    def _ask_for_more(self) -> None:
        """Read the input again if it had ended and has more by now; see `Executor.open`."""
        if self._exhausted and self._feed_error is None and self._due_in() == 0.0:
            self._exhausted = False

    def _abandon(self) -> None:
        """Withdraw all that waits when a run ends early, and ignore what is in flight."""
        self._requeued.clear()
        self._finished.clear()
        for worker in self._workers:
            while worker.withdraw() is not None:
                pass
            worker.abandoned.update(worker.messages)
            worker.messages.clear()

    def _dispatch(self, feed: Iterator[Batch]) -> None:
        """Send messages to every worker that has room."""
        if not self._workers and (self._requeued or not self._exhausted):
            raise self._supervisor.start_error()
        long = self._batch_s is None or self._batch_s > MESSAGE_S
        depth = QUEUED - 1 if long else QUEUED
        ready = [worker for worker in self._workers if worker.has_room()]
        # Batches that cannot be pickled fail at once; their results must not pile up.
        while ready and len(self._finished) < QUEUED * MOST_IN_MESSAGE:
            worker = min(ready, key=PoolWorker.queued)
            if worker.queued() >= depth:
                return
            batches = self._next_batches(feed)
            if batches:
                self._pack_and_send(worker, batches)
            elif not self._rebalance(ready):
                return

    def _next_batches(self, feed: Iterator[Batch]) -> list[Batch]:
        """Return the batches of the next message; none at the end of the input."""
        if self._requeued:
            return self._requeued.popleft()
        wanted = 1
        if self._batch_s is not None and self._batch_s < MESSAGE_S:
            wanted = min(
                int(MESSAGE_S / self._batch_s),
                int(MESSAGE_BYTES / self._batch_bytes),
                MOST_IN_MESSAGE,
            )
        batches: list[Batch] = []
        begun = perf_counter()
        while len(batches) < max(wanted, 1) and not self._exhausted:
            try:
                batch = next(feed, None)
            except Exception as error:  # raised when all that is in flight has come back
                self._feed_error, batch = error, None
            if batch is None:
                self._exhausted = True
            else:
                batches.append(batch)
                if perf_counter() - begun > MESSAGE_S:
                    break  # the input is slow: do not wait for more batches
        self._supervisor.note_pause()
        return batches

    def _pack_and_send(self, worker: PoolWorker, batches: list[Batch]) -> None:
        try:
            data = wire.pack_batches(batches)
        except Exception as error:
            self._isolate(batches, describe_exception(error))
            return
        self._batch_bytes = max(len(data) / len(batches), 0.8 * self._batch_bytes)
        self._send(worker, Message(batches, data))

    def _send(self, worker: PoolWorker, message: Message) -> None:
        worker.sent += 1
        worker.page.clear_flag(worker.sent)
        worker.messages[worker.sent] = message
        head = TO_WORKER.pack(len(message.data), worker.sent, perf_counter())
        worker.outbox.extend((memoryview(head), memoryview(message.data)))
        self._flush(worker)

    def _rebalance(self, ready: list[PoolWorker]) -> bool:
        """Give idle workers batches that wait for others; returns whether any batch waits."""
        for idle in [worker for worker in ready if not worker.queued()]:
            longest = max(self._workers, key=PoolWorker.queued)
            message = longest.withdraw() if longest.queued() > 1 else None
            if message is not None:
                self._send(idle, message)
                continue
            for worker in sorted(self._workers, key=PoolWorker.remaining, reverse=True):
                if rest := worker.withdraw_rest(self._batch_s):
                    self._requeued.extend(rest)
                    return True
            break
        return False

    def _flush(self, worker: PoolWorker) -> None:
        """Write what the socket accepts; the selector reports when there is room for the rest."""
        outbox = worker.outbox
        try:
            while outbox:
                sent = worker.link.sendmsg([*outbox][:16])
                worker.heard = perf_counter()
                while outbox and sent >= len(outbox[0]):
                    sent -= len(outbox.popleft())
                if sent:
                    outbox[0] = outbox[0][sent:]
        except BlockingIOError:
            pass
        except OSError:  # the worker is dead, which the selector will report
            outbox.clear()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if outbox else 0)
        if self._selector.get_key(worker.link).events != events:
            self._selector.modify(worker.link, events, worker)

    def _wait(self, timeout: Seconds | None) -> None:
        """Wait until a worker has sent something, has room or has died, and handle it."""
        dead = []
        ready = self._selector.select(timeout)
        self._supervisor.note_wait(math.inf if timeout is None else timeout)
        for key, events in ready:
            worker: PoolWorker = key.data
            if key.fileobj is not worker.link:
                dead.append(worker)
                continue
            if events & selectors.EVENT_WRITE:
                self._flush(worker)
            if events & selectors.EVENT_READ and not self._receive(worker):
                dead.append(worker)
        for worker in dict.fromkeys(dead):
            self._replace(worker)

    def _until_next_check(self) -> Seconds | None:
        """Return the seconds until the next check of deadlines, messages and input is due."""
        check = self._supervisor.next_check()
        times = [check] if check is not None else []
        if self._exhausted:
            due = self._due_in()
            idle = any(not worker.queued() for worker in self._workers)
            if due is not None and (due or idle):
                times.append(due)  # 0: a batch waits for a worker with room
            if idle and any(worker.holds_back() for worker in self._workers):
                times.append(STUCK_S)
        return min(max(min(times), 0.0) + 0.001, LONGEST_WAIT_S) if times else None

    # One function, because each further call would cost time for each message.
    def _receive(  # noqa: C901
        self, worker: PoolWorker, *, to_the_end: bool = False
    ) -> bool:
        """Read what a worker has sent; returns false when its end of the socket is closed.

        It stops a worker that has sent anything but messages, and returns false.
        """
        if worker.broken:
            return False
        is_open = True
        try:
            while got := worker.link.recv_into(worker.unfilled or self._buffer):
                worker.heard = perf_counter()
                if worker.unfilled:
                    worker.unfilled = worker.unfilled[got:] or None  # None lets the inbox grow
                else:
                    worker.inbox += self._buffer[:got]
                if got < READ_BYTES and not worker.unfilled and not to_the_end:
                    break
            is_open = bool(got)
        except BlockingIOError:
            pass
        except OSError:
            is_open = False
        if worker.unfilled:
            return is_open
        worker.unfilled, inbox, at = None, worker.inbox, 0
        needed = FROM_WORKER.size
        with memoryview(inbox) as view:
            while len(view) - at >= needed:
                size, number, first, end, pickling, sent = FROM_WORKER.unpack_from(view, at)
                if not worker.sends(size, number, first, end):
                    return worker.stop_broken()
                needed += size
                if len(view) - at < needed:
                    break
                back = perf_counter() - sent
                with view[at + FROM_WORKER.size : at + needed] as data:
                    self._accept(worker, number, first, end, data, pickling, back)
                at += needed
                needed = FROM_WORKER.size
        if at == len(inbox):
            worker.inbox = bytearray()
            return is_open
        del inbox[:at]
        if needed - len(inbox) > READ_BYTES:  # the rest is received straight into the buffer
            try:
                worker.inbox = bytearray(needed)
            except MemoryError:
                return worker.stop_broken()
            worker.inbox[: len(inbox)] = inbox
            worker.unfilled = memoryview(worker.inbox)[len(inbox) :]
        return is_open

    def _accept(
        self,
        worker: PoolWorker,
        number: int,
        first: int,
        end: int,
        data: memoryview,
        pickling_s: Seconds,
        return_s: Seconds,
    ) -> None:
        """Add the results of a message's batches from `first` up to, not including, `end`."""
        if number == READY:
            self._supervisor.report_ready(worker, str(data, "utf-8", "replace"))
            return
        message = worker.messages.get(number)
        if message is None:
            worker.abandoned.discard(number)
            return
        if end == first:  # the worker could not unpickle it
            del worker.messages[number]
            self._isolate(message.batches, str(data, "utf-8", "replace"))
            return
        message.done = end
        if end == len(message.batches):
            del worker.messages[number]
        try:
            results = wire.unpack_results(data, pickling_s / (end - first), return_s)
        except Exception as error:
            for batch in message.batches[first:end]:
                self._fail(batch, describe_exception(error))
            return
        self._finished += results
        self._charges.uncharged = 0
        took = sum(each.duration + each.seen.deserialise_s for each in results) + pickling_s
        worker.busy += took
        mean = took / len(results)
        # The estimate rises at once and falls gradually: a message that is too long costs more.
        known = mean if self._batch_s is None else self._batch_s
        self._batch_s = max(mean, 1e-6, 0.6 * known + 0.4 * mean)

    def _fail(
        self, batch: Batch, cause: str, fault: Fault | None = None, task: int | None = None
    ) -> None:
        """Add a failed result; `task` is the place in the batch of the task that caused it."""
        failures: tuple[TaskFailure, ...] = ()
        if task is not None and 0 <= task < len(batch):  # user code may write to the page
            failures = (task_failure(batch, task, cause),)
            if len(batch) > 1:
                cause = f"task {failures[0].task} {failures[0].title!r}: {cause}"
        result = failed_result(self._processor_id, batch, cause, fault=fault)
        self._finished.append(replace(result, failures=failures))

    def _isolate(self, batches: list[Batch], cause: str, fault: Fault | None = None) -> None:
        """Run the batches one by one, to find the failing one; a single batch has failed."""
        if len(batches) == 1:
            self._fail(batches[0], cause, fault)
        else:
            self._requeued.extend([batch] for batch in batches)

    def _replace(self, worker: PoolWorker) -> None:
        """Accept a dead worker's results, fail the batch that it was running, requeue the rest."""
        ending = worker.how_it_ended()
        self._receive(worker, to_the_end=True)
        _, running, since = worker.page.running()
        if running not in {Page.IDLE, Page.SENDING}:
            worker.busy += perf_counter() - since
        charge = self._charges.assign(worker, ending)
        for batch in charge.culprits:
            self._fail(batch, charge.cause, charge.fault, charge.task)
        if charge.suspects:
            self._isolate(charge.suspects, charge.cause, charge.fault)
        worker.messages.clear()
        self._requeued.extendleft(reversed(charge.others))
        if worker.ready:
            add_stats(self._stats_by_worker, worker.stats(self._begun))
        self._supervisor.replace(worker, ending)
