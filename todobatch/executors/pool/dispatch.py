"""A pool whose workers are reached through sockets: `processes` and `interpreters` are made of it.

    feed ──► messages (1 or more batches) ──► socket of worker 1 ──► results ──► caller
                                          ──► socket of worker n ──►

The caller's thread owns everything on this side: it hands out, reads and starts workers anew, and
never blocks but to wait for all sockets at once. So nothing here needs a lock between threads.
Every worker has a message or two waiting, so that it need not wait; short batches travel several in
a message, as many as make up `MESSAGE_S` of work by what the latest ones took.

A page of memory, shared with each worker, says what it is doing: the message it took, the batch in
it and since when. So when a worker dies, exactly the batch that it was running is given up, and a
batch that is overdue is known by the time at which the worker began it. Messages that wait and were
not taken go to others: when their worker has died, and at the end of the input when somebody else
is idle; then also half of a message that its worker has begun, or all that a long batch holds up.
`Page.lock` decides between the worker that takes a message and the caller that takes it back.

A dead worker's results that were finished and not yet sent, at most `FLUSH_S` of work, are lost
with it, and those batches run again: a batch gives one result, but may run more than once.
"""

import atexit
import errno
import math
import os
import selectors
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from time import perf_counter

from todobatch.errors import TodobatchError
from todobatch.executors.base import WorkerStats, add_stats
from todobatch.executors.pool import wire
from todobatch.executors.pool.transport import FROM_WORKER, TO_WORKER, UP, Page
from todobatch.model import Batch, Fault, ProcessingResult, describe_exception
from todobatch.processors.base import failed_result
from todobatch.units import Seconds

START_TIMEOUT_S: Seconds = 60.0
START_ATTEMPTS = 3
"""How often in a row workers may die before they are up, until no more are started, and how often
each is tried to be started at all, ..."""
RETRY_START_S: Seconds = 0.05
"""... after such a pause, and twice as long each further time."""
END_GRACE_S: Seconds = 5.0
"""What a batch under way may still take when the workers are ended; then its worker is killed."""

MESSAGE_S: Seconds = 0.008
"""Work in a message of several batches: long against what handing it over costs, some 50 us."""
MOST_IN_MESSAGE = 32
MESSAGE_BYTES = 1_000_000
"""A message of several batches is no larger, by the size of the latest: memory that is used again
is several times as quick as fresh memory, which the system has to clear first."""
SHARE_S: Seconds = 0.005
"""When somebody is idle at the end of the input and a batch has run for so long, those that were
sent along with it go to others, ..."""
SHARED_S: Seconds = 0.001
"""... and half of any message of which there is twice so much left."""
QUEUED = 3
"""Messages a worker at once: one that it runs and two to come; long batches have one to come."""
MOST_UNTAKEN = Page.NUMBER_OF_FLAGS - 4

READ_BYTES = 1 << 18
_WITHOUT_DEADLINE = {Page.IDLE, Page.SENDING}
_ANY_OF_THEM = {Page.UNPICKLING, Page.PICKLING}
"""What a worker is at when any batch of its message may be to blame for its end."""


def remedy_for(cause: str, otherwise: str) -> str:
    """What to do about a worker that did not start."""
    if os.strerror(errno.EMFILE) in cause or os.strerror(errno.ENFILE) in cause:
        return "use fewer workers, or raise the limit on open files (ulimit -n): each takes some"
    return otherwise


def _never() -> Seconds | None:
    return None


class Host(ABC):
    """What a worker lives in, as the pool sees it."""

    link: socket.socket
    page: Page
    label: str
    """What its worker calls itself, from when it is up."""
    sentinel: int | None = None
    """A descriptor that becomes readable when it has ended; None where the socket is all."""

    @abstractmethod
    def kill(self) -> bool:
        """End it at once, whatever it is doing; false where that cannot be done.

        One that cannot be ended is given up: `close` then does not wait for it.
        """

    @abstractmethod
    def how_it_ended(self) -> str:
        """Wait until it has, and say how: 'was killed (SIGKILL)'."""

    @abstractmethod
    def close(self) -> None:
        """End it where it has not ended, and let go of everything."""


@dataclass(slots=True, eq=False)
class _Message:
    """Batches on their way to a worker; their results come back in the same order."""

    batches: list[Batch]
    data: bytes
    done: int = 0
    """So many of them have given their result."""

    def to_come(self) -> int:
        """Batches without a result."""
        return len(self.batches) - self.done


@dataclass(slots=True, eq=False)
class _Worker:
    """The caller's side of one worker."""

    host: Host
    link: socket.socket
    page: Page
    started: Seconds
    cpu: int | None
    """The CPU that it is kept on."""
    up: bool = False
    sent: int = 0
    """Number of the newest message; the first is 1."""
    messages: dict[int, _Message] = field(default_factory=dict)
    """Those without their last result, oldest first."""
    stray: set[int] = field(default_factory=set)
    """Messages of a run that the caller left, under way in the worker: nobody wants the results."""
    inbox: bytearray = field(default_factory=bytearray)
    rest: memoryview | None = None
    """Of a large message: the part of the inbox that is still to come."""
    outbox: deque[memoryview] = field(default_factory=deque)
    overdue: tuple[int, int] | None = None
    """Message and place of the batch for which it was killed."""
    busy: Seconds = 0.0
    """What it spent with the batches of this run."""

    def queued(self) -> int:
        """Messages that wait or run."""
        return len(self.messages) + len(self.stray)

    def to_come(self) -> int:
        """Batches without a result, of the message that it runs."""
        return next((message.to_come() for message in self.messages.values()), 0)

    def has_more_behind(self) -> bool:
        """Whether batches wait in its first message behind the one that it runs, or soon will."""
        number = next(iter(self.messages), None)
        if number is None:
            return False
        taken, place, _ = self.page.running()
        if taken == number and place > 0:
            return len(self.messages[number].batches) > place
        return self.messages[number].to_come() > 1

    def has_room(self) -> bool:
        """Whether it can be given messages at all."""
        return self.up and not self.overdue and self.sent - self.page.taken() < MOST_UNTAKEN


class Pool:
    """The workers of one `open`. Used by one thread at a time."""

    def __init__(
        self,
        start_host: Callable[[int | None], Host],
        workers: int,
        cpus: Sequence[int],
        processor_id: str,
        did_not_start: Callable[[str], TodobatchError],
        deadline_s: Seconds | None = None,
    ) -> None:
        self._start_host = start_host
        self._size = workers
        self._cpus = cpus
        self._processor_id = processor_id
        self._did_not_start = did_not_start
        self._deadline = deadline_s
        self._selector = selectors.DefaultSelector()
        # One for all: `recv` would ask the system for so much memory each time.
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._bytes = 1.0
        """Of a batch, by the latest messages."""
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._why = ""
        self._hangs = False
        """Whether one hangs in its start, and cannot be ended."""
        self._cost: Seconds | None = None
        """What a batch takes a worker, by the latest ones."""
        self._due_in: Callable[[], Seconds | None] = _never
        """In how many seconds an input that had ended may have more."""
        self._exhausted = False
        self._broken: Exception | None = None
        """What reading the input raised."""
        self._again: deque[list[Batch]] = deque()
        """To be handed out before what is fresh."""
        self._finished: list[ProcessingResult] = []
        self.stats: tuple[WorkerStats, ...] = ()
        self._gone: dict[str, WorkerStats] = {}
        """The account of those that died in this run."""
        self._begun = 0.0

    def __call__(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        """See `Executor.open`."""
        yield from self.run(batches)
        stats = dict(self._gone)
        for worker in self._workers:
            add_stats(stats, self._account(worker))
        self.stats = tuple(stats.values())

    def start(self) -> None:
        """Start the workers that are missing and wait until all have said that they are up."""
        self._failed_starts, self._why = 0, ""
        while len(self._workers) < self._size and not self._failed_starts:
            self._add_worker()
        while not self._failed_starts and not all(worker.up for worker in self._workers):
            self._wait(self._until_overdue())
            self._kill_overdue()
        if self._failed_starts:
            raise self._did_not_start(self._why)

    def stop(self) -> None:
        """End the workers. What is under way may finish; a process is not waited for for ever."""
        atexit.unregister(self.stop)
        grace = END_GRACE_S if self._deadline is None else min(END_GRACE_S, self._deadline)
        end = perf_counter() + grace
        try:
            for worker in self._workers:
                worker.link.close()  # who is idle ends by that
                if self._hangs and not worker.up:
                    worker.host.kill()  # it may hang in its start as another one does
            sentinels = [each.host.sentinel for each in self._workers if each.up]
            waiting = [each for each in sentinels if each is not None]
            while waiting and (over := wait(waiting, max(end - perf_counter(), 0.0))):
                waiting = [each for each in waiting if each not in over]
        finally:
            while self._workers:
                self._workers.pop().host.close()
            self._selector.close()

    def run(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        """Run all batches."""
        feed = iter(batches)
        self._due_in = getattr(batches, "due_in", _never)
        self._exhausted, self._broken = False, None
        self._begun = perf_counter()
        self._gone.clear()
        for worker in self._workers:
            worker.busy = 0.0
        if len(self._workers) < self._size:
            self.start()
        try:
            while True:
                self._hand_out(feed)
                if not self._finished:
                    if self._exhausted and not self._again and not self._under_way():
                        break
                    self._wait(self._until_overdue())
                    self._kill_overdue()
                    self._ask_again()
                    self._hand_out(feed)  # workers go on while the caller looks at the results
                finished, self._finished = self._finished, []
                yield from finished
                self._ask_again()
            if self._broken is not None:
                raise self._broken
        finally:
            self._abandon()

    def _ask_again(self) -> None:
        """The input had ended: has it anything more by now? See `Executor.open`."""
        if self._exhausted and self._broken is None and self._due_in() == 0.0:
            self._exhausted = False

    def _under_way(self) -> bool:
        return any(worker.messages for worker in self._workers)

    def _abandon(self) -> None:
        """The caller is through, or has left: what was not begun never will be."""
        self._again.clear()
        self._finished.clear()
        for worker in self._workers:
            while self._take_back(worker) is not None:
                pass
            worker.stray.update(worker.messages)
            worker.messages.clear()

    def _account(self, worker: _Worker) -> WorkerStats:
        """What it did since the run began, or since it was started."""
        wall = perf_counter() - max(self._begun, worker.started)
        busy = min(worker.busy, wall)  # of messages of a run that was left, only the end is ours
        return WorkerStats(worker.host.label, busy, wall - busy)

    # Handing out ----------------------------------------------------------------------------------

    def _hand_out(self, feed: Iterator[Batch]) -> None:
        """Give something to do to every worker that has room."""
        if not self._workers and (self._again or not self._exhausted):
            raise self._did_not_start(self._why)
        long = self._cost is None or self._cost > MESSAGE_S
        depth = QUEUED - 1 if long else QUEUED
        ready = [worker for worker in self._workers if worker.has_room()]
        # What cannot be sent fails here, and must not pile up in front of the caller.
        while ready and len(self._finished) < QUEUED * MOST_IN_MESSAGE:
            worker = min(ready, key=_Worker.queued)
            if worker.queued() >= depth:
                return
            batches = self._next(feed)
            if not batches:
                if not self._share_out(ready):
                    return
                continue
            self._send(worker, batches)

    def _next(self, feed: Iterator[Batch]) -> list[Batch]:
        if self._again:
            return self._again.popleft()
        wanted = 1
        if self._cost is not None and self._cost < MESSAGE_S:
            wanted = min(
                int(MESSAGE_S / self._cost), int(MESSAGE_BYTES / self._bytes), MOST_IN_MESSAGE
            )
        batches: list[Batch] = []
        begun = perf_counter()
        while len(batches) < max(wanted, 1) and not self._exhausted:
            try:
                batch = next(feed, None)
            except Exception as error:  # the caller's to see, after what is under way
                self._broken, batch = error, None
            if batch is None:
                self._exhausted = True
            else:
                batches.append(batch)
                if perf_counter() - begun > MESSAGE_S:
                    break  # the input is slow: do not wait for more of it
        return batches

    def _send(self, worker: _Worker, batches: list[Batch]) -> None:
        try:
            data = wire.pack_batches(batches)
        except Exception as error:
            self._run_alone_or_fail(batches, describe_exception(error))
            return
        self._bytes = max(len(data) / len(batches), 0.8 * self._bytes)
        self._post(worker, _Message(batches, data))

    def _post(self, worker: _Worker, message: _Message) -> None:
        worker.sent += 1
        worker.page.hand_out(worker.sent)
        worker.messages[worker.sent] = message
        head = TO_WORKER.pack(len(message.data), worker.sent, perf_counter())
        worker.outbox.extend((memoryview(head), memoryview(message.data)))
        self._flush(worker)

    def _share_out(self, ready: list[_Worker]) -> bool:
        """There is no more to hand out: let the idle have what waits behind others' batches.

        True when some of that is in `_again` now.
        """
        for idle in [worker for worker in ready if not worker.queued()]:
            longest = max(self._workers, key=_Worker.queued)
            message = self._take_back(longest) if longest.queued() > 1 else None
            if message is None:
                return self._take_rest()
            self._post(idle, message)
        return False

    def _take_rest(self) -> bool:
        """Take back part of a message that its worker has begun: half, or all behind a long one."""
        least = math.ceil(SHARED_S / (self._cost or SHARED_S))
        for worker in sorted(self._workers, key=_Worker.to_come, reverse=True):
            number = next(iter(worker.messages), 0)
            if not number or worker.messages[number].to_come() < 2:
                continue
            batches = worker.messages[number].batches
            taken = worker.page.take_rest(number, len(batches), least=least, over_s=SHARE_S)
            if taken is None:
                continue
            last, stuck = taken
            if rest := batches[last:]:
                del batches[last:]
                self._again.extend([[batch] for batch in rest] if stuck else [rest])
                return True
        return False

    def _take_back(self, worker: _Worker) -> _Message | None:
        """The message that its worker would take last, if it has not taken it."""
        last = next(reversed(worker.messages), None)
        if last is None or not worker.page.take_back(last):
            return None
        return worker.messages.pop(last)

    def _flush(self, worker: _Worker) -> None:
        """Write what the socket takes; the selector tells when there is room for the rest."""
        outbox = worker.outbox
        try:
            while outbox:
                sent = worker.link.sendmsg([*outbox][:16])
                while outbox and sent >= len(outbox[0]):
                    sent -= len(outbox.popleft())
                if sent:
                    outbox[0] = outbox[0][sent:]
        except BlockingIOError:
            pass
        except OSError:  # it is dead, and the selector will tell
            outbox.clear()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if outbox else 0)
        if self._selector.get_key(worker.link).events != events:
            self._selector.modify(worker.link, events, worker)

    # Taking in ------------------------------------------------------------------------------------

    def _wait(self, timeout: Seconds | None) -> None:
        """Wait until a worker has sent something, has room or has died, and see to it."""
        dead = []
        for key, events in self._selector.select(timeout):
            worker: _Worker = key.data
            if key.fileobj is not worker.link:
                dead.append(worker)
                continue
            if events & selectors.EVENT_WRITE:
                self._flush(worker)
            if events & selectors.EVENT_READ and not self._receive(worker):
                dead.append(worker)
        for worker in dict.fromkeys(dead):
            self._bury(worker)

    def _receive(self, worker: _Worker, *, to_the_end: bool = False) -> bool:
        """Take in what is there; false when the worker's end is closed."""
        is_open = True
        try:
            while got := worker.link.recv_into(worker.rest or self._buffer):
                if worker.rest:
                    worker.rest = worker.rest[got:] or None  # what is whole may grow again
                else:
                    worker.inbox += self._buffer[:got]
                if got < READ_BYTES and not worker.rest and not to_the_end:
                    break
            is_open = bool(got)
        except BlockingIOError:
            pass
        except OSError:
            is_open = False
        if worker.rest:
            return is_open
        worker.rest, inbox, at = None, worker.inbox, 0
        needed = FROM_WORKER.size
        with memoryview(inbox) as view:
            while len(view) - at >= needed:
                size, number, first, end, pickling, sent = FROM_WORKER.unpack_from(view, at)
                needed += size
                if len(view) - at < needed:
                    break
                back = perf_counter() - sent
                with view[at + FROM_WORKER.size : at + needed] as data:
                    self._take_in(worker, number, first, end, data, pickling, back)
                at += needed
                needed = FROM_WORKER.size
        if at == len(inbox):
            worker.inbox = bytearray()
            return is_open
        del inbox[:at]
        if needed - len(inbox) > READ_BYTES:  # the rest goes straight to its place
            worker.inbox = bytearray(needed)
            worker.inbox[: len(inbox)] = inbox
            worker.rest = memoryview(worker.inbox)[len(inbox) :]
        return is_open

    def _take_in(
        self,
        worker: _Worker,
        number: int,
        first: int,
        end: int,
        data: memoryview,
        pickling_s: Seconds,
        return_s: Seconds,
    ) -> None:
        if number == UP:
            if data:  # it says what is wrong, and ends
                self._why = str(data, "utf-8")
            else:
                worker.up, self._failed_starts = True, 0
            return
        message = worker.messages.get(number)
        if message is None:
            worker.stray.discard(number)
            return
        if end == first:  # it could not be unpickled there
            del worker.messages[number]
            self._run_alone_or_fail(message.batches, str(data, "utf-8"))
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
        took = sum(each.duration + each.seen.deserialise_s for each in results) + pickling_s
        worker.busy += took
        mean = took / len(results)
        # Slow ones count at once, quick ones bit by bit: too long a message is the worse mistake.
        self._cost = max(mean, 1e-6, 0.0 if self._cost is None else 0.6 * self._cost + 0.4 * mean)

    def _fail(self, batch: Batch, cause: str, fault: Fault | None = None) -> None:
        self._finished.append(failed_result(self._processor_id, batch, cause, fault=fault))

    def _run_alone_or_fail(
        self, batches: list[Batch], cause: str, fault: Fault | None = None
    ) -> None:
        """One of them is at fault: each is run alone, and a single one has failed."""
        if len(batches) == 1:
            self._fail(batches[0], cause, fault)
        else:
            self._again.extend([batch] for batch in batches)

    # Workers that are started, die or hang --------------------------------------------------------

    def _add_worker(self) -> None:
        taken = [worker.cpu for worker in self._workers]
        cpu = min(self._cpus, key=taken.count, default=None)
        why = ""
        for attempt in range(START_ATTEMPTS):
            try:
                host = self._start_host(cpu)
                break
            except (OSError, RuntimeError, EOFError) as error:
                # The system's limits, which may pass; a fork server that died is started anew.
                why = why or describe_exception(error)  # later ones may follow from the first
                time.sleep(RETRY_START_S * 2**attempt)
        else:
            self._failed_starts += 1
            self._why = why
            return
        worker = _Worker(host, host.link, host.page, perf_counter(), cpu)
        self._workers.append(worker)
        self._selector.register(worker.link, selectors.EVENT_READ, worker)
        if host.sentinel is not None:
            self._selector.register(host.sentinel, selectors.EVENT_READ, worker)
        atexit.unregister(self.stop)
        atexit.register(self.stop)  # before multiprocessing's own, which would wait for ever

    def _until_overdue(self) -> Seconds | None:
        """Seconds until a batch or a start could be overdue, or the input may have more again."""
        now = perf_counter()
        ends = [worker.started + START_TIMEOUT_S for worker in self._workers if not worker.up]
        due = self._due_in() if self._exhausted else None
        if due is not None and (due or any(not worker.queued() for worker in self._workers)):
            ends.append(now + due)  # 0: there is more, and waits for who has room
        if (
            self._exhausted
            and not all(worker.queued() for worker in self._workers)
            and any(worker.has_more_behind() for worker in self._workers)
        ):
            ends.append(now + SHARE_S)
        if self._deadline is not None:
            ends.append(now + self._deadline)
            for worker in self._workers:
                _, running, since = worker.page.running()
                if running not in _WITHOUT_DEADLINE and not worker.overdue:
                    ends.append(since + self._deadline)
        return max(min(ends) - now, 0.0) + 0.001 if ends else None

    def _kill_overdue(self) -> None:
        """Kill what is overdue; the selector tells when it is dead."""
        now = perf_counter()
        hanging: list[_Worker] = []
        for worker in self._workers:
            taken, running, since = worker.page.running()
            if not worker.up:
                if now - worker.started > START_TIMEOUT_S:
                    self._why = f"it was not up after {START_TIMEOUT_S:g} s"
                    if not worker.host.kill():
                        hanging.append(worker)
            elif (
                self._deadline is not None
                and running not in _WITHOUT_DEADLINE
                and not worker.overdue
                and now - since > self._deadline
            ):
                worker.overdue = (taken, running)
                worker.host.kill()
        for worker in hanging:  # one that hangs in its start would hang again
            self._failed_starts, self._hangs = START_ATTEMPTS, True
            self._remove(worker)

    def _bury(self, worker: _Worker) -> None:
        """Take in what a dead worker had sent, give up what it was running, keep the rest."""
        ending = worker.host.how_it_ended()
        self._receive(worker, to_the_end=True)
        if not worker.up:
            self._failed_starts += 1
            self._why = self._why or f"it {ending}"
        self._keep_all_but_the_culprit(worker, ending)
        if worker.up:
            add_stats(self._gone, self._account(worker))
        self._remove(worker)
        if self._failed_starts < START_ATTEMPTS:
            self._add_worker()

    def _remove(self, worker: _Worker) -> None:
        self._selector.unregister(worker.link)
        if worker.host.sentinel is not None:
            self._selector.unregister(worker.host.sentinel)
        self._workers.remove(worker)
        worker.host.close()

    def _keep_all_but_the_culprit(self, worker: _Worker, ending: str) -> None:
        taken, running, since = worker.page.running()
        if running not in _WITHOUT_DEADLINE:
            worker.busy += perf_counter() - since
        fault: Fault = "crashed"
        cause = f"its worker {ending}"
        if worker.overdue:
            (taken, running), fault = worker.overdue, "deadline"
            cause = f"it ran longer than its deadline of {self._deadline:g} s, and was stopped"
        kept: list[list[Batch]] = []
        for number, message in worker.messages.items():
            left = message.batches[message.done :]
            if number == taken and running in _ANY_OF_THEM:
                self._run_alone_or_fail(left, cause, fault)
                continue
            culprit = running - 1 - message.done
            if number == taken and 0 <= culprit < len(left):
                self._fail(left.pop(culprit), cause, fault)
            if left:
                kept.append(left)
        worker.messages.clear()
        self._again.extendleft(reversed(kept))
