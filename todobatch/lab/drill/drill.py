"""Every fault against every executor, each pair in a process of its own under a time limit.

    plan ─► (executor, fault) ─► child process, ended when it hangs ─► Story ─► Row ─► Drill

A child tells of each task as its result comes in; what it told before it died or was ended stands.
Tasks are counted here from what was told, task by task, and then held against what the coordinator
counted itself: where the two disagree the row says so, and counts as one that failed.

Pairs run side by side, two a CPU, each followed by a thread of its own here. These threads share
nothing that changes but one event, which asks them to end their processes.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

from todobatch import runtime
from todobatch.child.drill import OURS, WRAPPED, DrillJob
from todobatch.child.faults import FAULTS, Fault, Need
from todobatch.child.peers import PEERS
from todobatch.errors import BuildError, UsageError
from todobatch.executors.base import Capabilities
from todobatch.lab.drill.follow import QUIET_PATIENT_S, End, Limits, Stage, Story, take, take_killed
from todobatch.lab.interpreters import Interpreter, worker_environment
from todobatch.lab.interpreters.support import PEER_REQUIREMENTS, support_folder
from todobatch.lab.store.machine import without_folders
from todobatch.units import Seconds

SCHEMA = 1
DEFAULT_TASKS = 200
LEAST_TASKS, MOST_TASKS = 20, 10_000
WORKERS = 2
BATCH_SIZE = 10
DEADLINE_S: Seconds = 1.0
WATCHDOG_S: Seconds = 3.0
RETRIES = 2
BACKOFF_S: Seconds = 0.05
PER_CPU = 2
"""Pairs side by side on each CPU: most of a pair's time is waiting."""
MOST_SIDE_BY_SIDE = 4
HAVE_FORK_SERVERS = frozenset({"processes", "wrapped-processes"})
"""Ours; whether a peer has one shows when it strikes."""

SUMS_NOTHING_UP = "it sums nothing up"
NOT_A_NAME = "todobatch run has no such executor"
NO_FORK_SERVER = "it has no fork server"
ERROR_KEPT = 120
DEFAULT_LIMITS = Limits()

REMEDIES: Mapping[Need, str] = MappingProxyType(
    {
        "crashes": "processes, where a worker that dies is replaced, and its batch is run again",
        "deadline": "processes with a deadline, where a worker that hangs is killed and replaced",
    }
)
PEER_ENTRIES: Mapping[str, str] = MappingProxyType(
    {each.name: f"todobatch.child.peers:{each.entry}" for each in PEERS.values()}
)
"""Name -> ``module:function``."""

Tell = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the tasks when one executor met one fault."""

    executor: str
    fault: str
    isolates: bool
    """For ours what its capabilities say; for a peer, whether this run lost and doubled nothing."""
    peer: bool
    tasks: int
    """Handed in; 0 where the executor is not available."""
    done: int
    """Tasks with a result."""
    set_aside: int
    """The struck task, when it has no result and was reported with its error."""
    lost: int
    """Tasks with neither; also those that were failed although nothing is wrong with them."""
    duplicated: int
    """Outcomes beyond the first, of tasks that were told of more than once."""
    recovery_s: Seconds | None
    """From the strike until the struck task was done or set aside; None when a task was lost."""
    seconds: Seconds
    """What the whole took, with the start of its process."""
    ended: End
    agrees: bool = True
    """What the coordinator counted, where it got so far, is what was counted here."""
    note: str = ""
    remedy: str = ""

    @property
    def keeps_its_word(self) -> bool:
        """False when it says that it isolates the fault, and this run does not bear it out.

        A fault that did not strike bears nothing out either: then there is no `recovery_s`. Nor
        does a run that has told of all tasks and then does not end.
        """
        if self.peer or not self.isolates:
            return True
        whole = self.lost == 0 and self.duplicated == 0 and self.recovery_s is not None
        return whole and self.agrees and self.ended == "finished"


@dataclass(frozen=True, slots=True)
class Drill:
    """All rows, and what they were taken with."""

    interpreter: str
    python: str
    gil: bool
    cpus: int
    tasks: int
    seconds: Seconds
    rows: tuple[Row, ...]

    @property
    def broken_words(self) -> tuple[Row, ...]:
        """Rows of executors that isolate the fault by their own account, and did not."""
        return tuple(row for row in self.rows if not row.keeps_its_word)

    def as_json(self) -> str:
        """One document; `rows` hold what the table shows and `failed` names broken words."""
        document = {
            "schema": SCHEMA,
            "interpreter": self.interpreter,
            "python": self.python,
            "gil_enabled": self.gil,
            "cpus": self.cpus,
            "workers": WORKERS,
            "batch_size": BATCH_SIZE,
            "deadline_s": DEADLINE_S,
            "retries": RETRIES,
            "seconds": round(self.seconds, 3),
            "failed": [f"{row.executor}/{row.fault}" for row in self.broken_words],
            "rows": [asdict(row) for row in self.rows],
        }
        return json.dumps(document, indent=1, allow_nan=False)


def isolates(capabilities: Capabilities, fault: Fault) -> bool:
    """Whether an executor with these capabilities lets the fault hurt no task but the struck one.

    What a task throws is kept from others by every executor, and a journal belongs to the
    coordinator, which is the same for all.
    """
    if fault.needs == "crashes":
        return capabilities.isolates_crashes
    if fault.needs == "deadline":
        return capabilities.enforces_deadlines
    return True


def drill(
    interpreter: Interpreter,
    tell: Tell,
    *,
    executors: Sequence[str] | None = None,
    faults: Sequence[str] | None = None,
    peers: bool = True,
    tasks: int = DEFAULT_TASKS,
) -> Drill:
    """Run every fault against every executor on this interpreter; `tell` gets what and how far.

    `executors` may name peers too, and then they are the only ones; else all of ours are taken,
    and with `peers` all of those. Raises UsageError for a name that is none and for a senseless
    number of tasks, and KeyboardInterrupt when all children have been ended.
    """
    chosen = _names(executors, [*OURS, *(PEERS if peers or executors else ())], "--executors")
    struck_by = _names(faults, list(FAULTS), "--faults")
    if not LEAST_TASKS <= tasks <= MOST_TASKS:
        raise UsageError(
            f"{tasks} tasks", place="--tasks", remedy=f"from {LEAST_TASKS} to {MOST_TASKS}"
        )
    begun = time.monotonic()
    environment = worker_environment(interpreter)
    missing = _add_peers(environment, interpreter) if any(n in PEERS for n in chosen) else ""
    pairs = [(name, FAULTS[fault]) for name in chosen for fault in struck_by]
    taker = Taker(Stage(interpreter, environment), tasks, missing=missing)
    return Drill(
        interpreter=interpreter.spec,
        python=interpreter.facts["version"],
        gil=interpreter.facts["gil_enabled"],
        cpus=runtime.cpus_available(),
        tasks=tasks,
        rows=tuple(_side_by_side(taker, pairs, tell)),
        seconds=time.monotonic() - begun,
    )


def _side_by_side(taker: "Taker", pairs: Sequence[tuple[str, Fault]], tell: Tell) -> Iterator[Row]:
    """Rows in the order of the pairs."""
    at_once = max(1, min(PER_CPU * runtime.cpus_available(), MOST_SIDE_BY_SIDE))
    with ThreadPoolExecutor(at_once, thread_name_prefix="drill") as pool:
        try:
            rows = [pool.submit(taker.take, name, fault) for name, fault in pairs]
            for number, ((name, fault), row) in enumerate(zip(pairs, rows, strict=True), start=1):
                tell(name, f"{fault.name}  {number} of {len(pairs)}")
                yield row.result()
        finally:
            taker.stage.ending.set()  # after Ctrl-C: those under way end their processes
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Taker:
    """Takes one row at a time; used by several threads, and holds only what does not change."""

    stage: Stage
    tasks: int = DEFAULT_TASKS
    peers: Mapping[str, str] = field(default_factory=lambda: PEER_ENTRIES)
    missing: str = ""
    """Why the peers that must be installed are not, or empty."""
    limits: Limits = DEFAULT_LIMITS

    def take(self, executor: str, fault: Fault) -> Row:
        """One executor meets one fault."""
        begun = time.monotonic()
        entry = self.peers.get(executor)
        claims = entry is None and isolates(OURS[executor].capabilities, fault)
        limits = replace(self.limits, quiet_s=QUIET_PATIENT_S) if claims else self.limits
        with tempfile.TemporaryDirectory(
            prefix="todobatch-drill-", ignore_cleanup_errors=True
        ) as folder:
            job: DrillJob = {
                "executor": executor,
                "peer": entry,
                "fault": fault.name,
                "struck": self.tasks // 3,
                "folder": folder,
                "tasks": self.tasks,
                "workers": WORKERS,
                "batch_size": BATCH_SIZE,
                "deadline_s": DEADLINE_S,
                "retries": RETRIES,
                "backoff_s": BACKOFF_S,
                "watchdog_s": WATCHDOG_S,
            }
            if why := self._not_taken(executor, fault):
                story = Story(ended="unavailable", why=why)
            else:
                how = take_killed if fault.needs == "journal" else take
                story = how(self.stage, job, limits)
        return judge(story, job, claims=claims, seconds=time.monotonic() - begun)

    def _not_taken(self, executor: str, fault: Fault) -> str:
        """Why there is no such row, or empty."""
        if executor in self.peers:
            if self.missing and executor in PEERS and PEERS[executor].extra:
                return self.missing
            return SUMS_NOTHING_UP if fault.where == "aggregate" else ""
        if executor in WRAPPED and fault.needs == "journal":
            return NOT_A_NAME
        if fault.name == "fork-server-killed" and executor not in HAVE_FORK_SERVERS:
            return NO_FORK_SERVER
        return ""


def judge(story: Story, job: DrillJob, *, claims: bool, seconds: Seconds) -> Row:
    """The row that a story comes to; every task of the input is looked up in it."""
    fault, struck, peer = FAULTS[job["fault"]], job["struck"], job["peer"] is not None
    ran = story.ended != "unavailable"
    tasks = range(job["tasks"]) if ran else range(0)
    done = story.done.intersection(tasks)
    innocent = {error for task, error in story.failed.items() if task != struck}
    # A task whose error is everybody's was not found out: it is lost with the others.
    aside = {struck} - done if story.failed.get(struck) not in {None, *innocent} else set()
    lost = len(tasks) - len(done) - len(aside)
    duplicated = sum(times - 1 for times in story.told.values())
    recovered = ran and lost == 0 and story.struck is not None
    unhurt = lost == duplicated == 0 and story.struck is not None and not story.left_over
    isolated = unhurt if peer else claims
    remedy = ""
    if not ran and not peer and story.why not in {NOT_A_NAME, NO_FORK_SERVER}:
        remedy = "choose another interpreter with --interpreter, or another executor"
    elif ran and not peer and not claims:
        remedy = REMEDIES[fault.needs]
    since = story.struck if story.struck is not None else 0.0
    until = (
        max(story.settled.values(), default=None)
        if fault.needs == "journal"
        else story.settled.get(struck)
    )
    return Row(
        executor=job["executor"],
        fault=fault.name,
        isolates=ran and isolated,
        peer=peer,
        tasks=len(tasks),
        done=len(done),
        set_aside=len(aside),
        lost=lost,
        duplicated=duplicated,
        recovery_s=round(until - since, 4) if recovered and until is not None else None,
        seconds=round(seconds, 3),
        ended=story.ended,
        agrees=story.counted in {None, (len(done), len(story.failed))},
        note="; ".join(_notes(story, job, done)),
        remedy=remedy,
    )


def _notes(story: Story, job: DrillJob, done: set[int]) -> Iterator[str]:
    """What a reader must know beside the figures."""
    if story.ended != "finished":
        yield _short(story.why)
    if story.ended == "unavailable":
        return
    if story.struck is None:
        yield "the fault did not strike"
    innocent = set(story.failed) - done - {job["struck"]}
    if innocent:
        yield f"tasks with nothing wrong failed too: {_short(story.failed[min(innocent)])}"
    if story.strange:
        yield _short(story.strange[min(story.strange)])
    if story.counted not in {None, (len(done), len(story.failed))}:
        yield f"its own count of (done, failed) is {story.counted}"


def _short(text: str) -> str:
    return text if len(text) <= ERROR_KEPT else f"{text[: ERROR_KEPT - 1]}…"


def _add_peers(environment: dict[str, str], interpreter: Interpreter) -> str:
    """Put the peers behind the workers' packages; why they are not there, or an empty text."""
    try:
        folder = support_folder(interpreter, PEER_REQUIREMENTS)
    except BuildError as error:
        return f"not installed: {without_folders(error.cause)}"
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(folder)])
    return ""


def _names(asked: Sequence[str] | None, known: Sequence[str], option: str) -> list[str]:
    """The names asked for, each once; all that are known when nobody asked. Raises UsageError."""
    for name in asked or ():
        if name not in known:
            raise UsageError(
                f"{name!r} is not known", place=option, remedy=f"some of {', '.join(known)}"
            )
    return list(dict.fromkeys(asked or known))
