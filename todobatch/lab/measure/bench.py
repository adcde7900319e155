"""Plan a run, measure its samples and write the run folder, for `todobatch bench`.

Choice ─► interpreters ─► draft ─► calibrate ─► plan ─► run folder ─► samples ─► pyperf files
                                                            │
resume ─────────────────────────────────────────────────────┘
"""

import datetime as dt
import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import todobatch
from todobatch import runtime
from todobatch.child.tasks import TaskSource
from todobatch.errors import UsageError
from todobatch.files import short_name
from todobatch.lab.doctor import checks, system
from todobatch.lab.interpreters import DEFAULT_INTERPRETERS, Interpreter
from todobatch.lab.measure import schedule
from todobatch.lab.measure.calibrate import calibrate
from todobatch.lab.measure.sample import Sampler
from todobatch.lab.plan import trust as trusting
from todobatch.lab.plan.available import availability, find_interpreters, labelled, unloadable
from todobatch.lab.plan.cells import Choice, draft
from todobatch.lab.plan.conditions import changes, changes_of, inspect_file, publishable
from todobatch.lab.progress import Progress
from todobatch.lab.store import machine, pyperf_files
from todobatch.lab.store.folder import Run, load_run
from todobatch.lab.store.schema import SCHEMA, Plan, RunMeta
from todobatch.lab.store.writer import RunWriter, create_run, open_run, refuse_existing_run
from todobatch.units import Seconds, show_seconds

CALIBRATION_TIMEOUT_S: Seconds = 300.0
LEAST_TIMEOUT_S: Seconds = 30.0
TIMEOUT_FACTOR = 20
"""A sample may last this many times as long as a sequential one: 8 workers may share one CPU."""


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a run whose samples so far are saved; `resume` continues it."""

    def __init__(self, folder: Path, samples: int, *, needs_trust: bool) -> None:
        super().__init__()
        self.folder = folder
        self.samples = samples
        self.needs_trust = needs_trust
        """Whether `resume` executes the run only with `trust`."""


def begin(
    choice: Choice,
    progress: Progress,
    *,
    output: Path | None = None,
    input_file: Path | None = None,
    format: str | None = None,  # noqa: A002 - as `open_source` names it
) -> Run:
    """Plan a new run and measure it; its folder is `output`, or one named after the time.

    Raises UsageError, InputError, InterpreterMissingError, ExecutorUnavailableError,
    MeasurementError, StoreError, and RunInterrupted on Ctrl-C.
    """
    choice.check()
    begun = _Begun(output)
    today = runtime.today()
    source = None if input_file is None else inspect_file(input_file, format, today, progress)
    asked = labelled(choice.interpreters or DEFAULT_INTERPRETERS)
    interpreters = find_interpreters(asked, progress)
    available = {label: availability(each) for label, each in interpreters.items()}
    seed: TaskSource = {"kind": "generator", "seed": choice.seed or 0}
    lacking = unloadable(choice.resolved_workloads(), interpreters, source or seed)
    drafted = draft(choice, available, source=source, unloadable=lacking)
    folder = output or _new_folder(drafted.mode)
    _announce(drafted, choice, interpreters, folder, progress)
    plan = _calibrated(drafted, choice.batch_size, interpreters, progress)
    return begun.measure(folder, plan, interpreters, progress)


def begin_like(
    folder: Path, progress: Progress, *, output: Path | None = None, trust: bool = False
) -> Run:
    """Measure a new run by the plan of another one, so that `compare` can compare the two.

    Cells, tasks, sizes, day and seed are those of the other run, and the outputs must be equal.
    Interpreters and machine may differ. For `trust` see `resume`. Raises what `begin` raises.
    """
    begun = _Begun(output)
    plan = load_run(folder).meta.plan
    asked = trusting.executables(folder, plan, trust=trust)
    if changed := changes_of(plan.source):
        raise UsageError(
            "; ".join(changed),
            place=str(folder),
            remedy="its plan needs the same tasks; begin a new run without `like`",
        )
    interpreters = find_interpreters(asked, progress)
    new = output or _new_folder(plan.mode)
    progress.message(f"{plan.mode} run by the plan of {folder}: {len(plan.cells)} cells; in {new}")
    return begun.measure(new, plan, interpreters, progress, own_code=trust)


def resume(folder: Path, progress: Progress, *, trust: bool = False) -> Run:
    """Continue a run: its samples are kept, and its plan and order stay as they are.

    Unless `trust`, nothing is executed but built-in workloads, on interpreters that are found on
    this machine (`todobatch.lab.plan.trust`). Raises UsageError when the run needs more, and when
    interpreters, machine or tasks have changed. Raises what `begin` raises.
    """

    def asked(meta: RunMeta) -> Mapping[str, str]:
        return trusting.executables(folder, meta.plan, meta.interpreters, trust=trust)

    with open_run(folder, asked) as opened:
        meta = opened.meta
        interpreters = find_interpreters(asked(meta), progress)
        if changed := changes(meta, interpreters):
            raise UsageError(
                "this run was begun under other conditions: " + "; ".join(changed),
                place=str(folder),
                remedy="begin a new run: samples of different things cannot be compared",
            )
        if opened.was_torn:
            progress.warn("the last line of samples.jsonl was incomplete and is dropped")
        progress.message(f"{folder}: {len(opened.samples)} samples are kept")
        opened.update(resumed=(*meta.resumed, _now()), ended=None)
        return _measure(opened, interpreters, progress, own_code=trust)


class _Begun:
    """The state of the machine when a run begins, before this process puts load on it."""

    def __init__(self, output: Path | None) -> None:
        self._at = time.monotonic()
        refuse_existing_run(output or _new_folder("run"))  # now, before minutes are spent
        self._before = system.take_snapshot()
        self._machine = machine.describe()

    def measure(
        self,
        folder: Path,
        plan: Plan,
        interpreters: Mapping[str, Interpreter],
        progress: Progress,
        *,
        own_code: bool = True,
    ) -> Run:
        """Create the run folder and measure the plan."""
        facts = system.gather(self._before, self._machine, list(interpreters.values()))
        meta = RunMeta(
            schema=SCHEMA,
            run_id=folder.name,
            todobatch_version=todobatch.__version__,
            plan=plan,
            machine=self._machine,
            interpreters={label: publishable(each) for label, each in interpreters.items()},
            git=machine.git_state(),
            started=_now(),
            doctor=checks.as_dictionaries(checks.examine(facts)),
        )
        with create_run(folder, meta) as opened:
            spent_s = time.monotonic() - self._at
            return _measure(opened, interpreters, progress, own_code=own_code, spent_s=spent_s)


def _measure(
    opened: RunWriter,
    interpreters: Mapping[str, Interpreter],
    progress: Progress,
    *,
    own_code: bool,
    spent_s: Seconds = 0.0,
) -> Run:
    """Measure what the plan lacks, and write the pyperf files."""
    plan = opened.meta.plan
    source = cast(TaskSource, dict(plan.source))
    longest = max((shape.calibrated_s for shape in plan.shapes), default=0.0)
    timeout_s = max(LEAST_TIMEOUT_S, TIMEOUT_FACTOR * longest)
    least_s = schedule.least_block_s(plan)
    if plan.budget_s and not opened.samples and spent_s + least_s > plan.budget_s:
        progress.warn(schedule.beyond_budget(plan.budget_s, spent_s, least_s))
    sampler = Sampler(interpreters, source, plan.today, timeout_s=timeout_s, own_code=own_code)
    try:
        for sample in schedule.run(
            opened, sampler, lambda upcoming: _report(upcoming, progress), spent_s=spent_s
        ):
            if sample.void is not None:
                progress.warn(
                    f"void: {sample.cell.key}: {sample.void} "
                    f"(measured again, up to {schedule.ATTEMPTS} times in all)"
                )
        for cell in schedule.given_up(plan, opened.samples):
            progress.warn(f"given up: {cell.key}: {schedule.ATTEMPTS} void samples in a row")
        opened.update(ended=_now())
    except KeyboardInterrupt:
        pyperf_files.write(opened.run(), opened.folder)
        needs_trust = bool(trusting.strangers(plan, opened.meta.interpreters))
        raise RunInterrupted(opened.folder, len(opened.samples), needs_trust=needs_trust) from None
    finally:
        sampler.close()
    pyperf_files.write(opened.run(), opened.folder)
    return opened.run()


def _calibrated(
    drafted: Plan,
    batch_size: int | None,
    interpreters: Mapping[str, Interpreter],
    progress: Progress,
) -> Plan:
    source = cast(TaskSource, drafted.source)
    shapes = []
    with closing(
        Sampler(interpreters, source, drafted.today, timeout_s=CALIBRATION_TIMEOUT_S)
    ) as sampler:
        for workload in dict.fromkeys(cell.workload for cell in drafted.cells):
            shape = calibrate(sampler, drafted, workload, batch_size)
            progress.message(
                f"{workload}: {shape.batches} batches of {shape.batch_size} tasks a sample, "
                f"{show_seconds(shape.calibrated_s)} in sequence"
            )
            shapes.append(shape)
    return replace(drafted, shapes=tuple(shapes))


def _announce(
    drafted: Plan,
    choice: Choice,
    interpreters: Mapping[str, Interpreter],
    folder: Path,
    progress: Progress,
) -> None:
    what = f"{len(drafted.cells)} cells, at most {drafted.blocks} blocks"
    limit = f", at most {drafted.budget_s:.0f} s" if drafted.budget_s else ""
    progress.message(f"{drafted.mode} run: {what}{limit}; seed {drafted.seed}; in {folder}")
    for label, each in interpreters.items():
        gil = "GIL off" if not each.facts["gil_enabled"] else "GIL on"
        progress.message(f"{label}: Python {each.facts['version']}, {gil}")
    named = {*(choice.executors or ()), *(choice.workloads or ())}
    for left_out, why in drafted.left_out:
        asked = left_out.partition(" on ")[0] in named
        progress.warn(f"{'asked for, but ' * asked}left out: {left_out}: {why}")
    if drafted.source["kind"] == "file":
        progress.message(
            f"{drafted.source['tasks']} tasks of {drafted.source['path']}, "
            "repeated to fill a sample"
        )


def _report(upcoming: schedule.Upcoming, progress: Progress) -> None:
    left = "" if math.isnan(upcoming.left_s) else f", about {_rounded(upcoming.left_s)} left"
    progress.step(
        f"block {upcoming.slot.block + 1} of at most {upcoming.blocks}",
        upcoming.index,
        upcoming.cells,
        f"{upcoming.slot.cell.key}{left}",
    )


def _rounded(seconds: Seconds) -> str:
    if seconds < 100:
        return show_seconds(seconds) if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def _new_folder(mode: str) -> Path:
    stamp = dt.datetime.now(tz=dt.UTC).strftime("%Y%m%d-%H%M%S")
    return Path("results") / f"{stamp}-{short_name(mode)}"  # it may come from a stranger's plan


def _now() -> str:
    return dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds")
