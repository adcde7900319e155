"""The whole of `todobatch bench`: choose, calibrate, take samples, leave a run folder.

Choice ─► interpreters ─► draft ─► calibrate ─► plan ─► run folder ─► samples ─► pyperf files
                                                            │
--resume ───────────────────────────────────────────────────┘
"""

import datetime as dt
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import todobatch
from todobatch.child.tasks import TaskSource, count
from todobatch.errors import (
    BrokenLineError,
    EmptyInputError,
    InputError,
    InterpreterMissingError,
    UsageError,
)
from todobatch.lab.doctor import checks, system
from todobatch.lab.interpreters import (
    Interpreter,
    differences,
    find,
    find_all,
    worker_environment,
)
from todobatch.lab.measure import schedule
from todobatch.lab.measure.calibrate import calibrate
from todobatch.lab.measure.progress import View
from todobatch.lab.measure.sample import Sampler
from todobatch.lab.plan.cells import DEFAULT_INTERPRETERS, Choice, Draft, draft
from todobatch.lab.store import machine, pyperf_files
from todobatch.lab.store.folder import Run, load_run
from todobatch.lab.store.schema import SCHEMA, Plan, RunMeta
from todobatch.lab.store.writer import RunWriter, create_run, open_run, refuse_existing_run
from todobatch.sources import open_source
from todobatch.units import Seconds, show_seconds

LEAST_TIMEOUT_S: Seconds = 30.0
TIMEOUT_FACTOR = 20
"""A sample may take so many times what a sequential one took: 8 workers on one CPU are no error."""
PROBE_TIMEOUT_S: Seconds = 60.0


def begin(
    choice: Choice,
    view: View,
    *,
    output: Path | None = None,
    input_file: Path | None = None,
    format: str | None = None,  # noqa: A002 - the option's name
) -> Run:
    """Plan and take a new run.

    Raises UsageError, InputError, InterpreterMissingError, MeasurementError, StoreError, and
    KeyboardInterrupt after saying how to go on.
    """
    begun = time.monotonic()
    if output is not None:
        refuse_existing_run(output)  # before minutes are spent
    before = system.take_snapshot()  # now: its load is that of others
    described = machine.describe()
    today = dt.datetime.now(tz=dt.UTC).astimezone().date()
    source = None if input_file is None else inspect_file(input_file, format, today, view.say)
    interpreters = _find_all(choice.interpreters or DEFAULT_INTERPRETERS, view)
    available = {label: availability(each) for label, each in interpreters.items()}
    drafted = draft(choice, available, source=source)
    folder = output or _new_folder(drafted.mode)
    _announce(drafted, interpreters, folder, view)
    plan = _calibrated(drafted, interpreters, view)
    meta = _meta_of(folder, plan, described, before, interpreters)
    with create_run(folder, meta) as opened:
        return _take(opened, interpreters, view, spent_s=time.monotonic() - begun)


def begin_like(folder: Path, view: View, *, output: Path | None = None) -> Run:
    """Take a new run by the plan of another one, so that `compare` may set the two side by side.

    The same cells, tasks, sizes, day and seed, and the outputs must be the same; interpreters and
    machine are those of now. Raises what `begin` raises.
    """
    begun = time.monotonic()
    if output is not None:
        refuse_existing_run(output)
    before = system.take_snapshot()
    described = machine.describe()
    plan = load_run(folder).meta.plan
    changed = _input_changed(plan)
    if changed:
        raise UsageError(
            "; ".join(changed),
            place=str(folder),
            remedy="its plan needs the same tasks; begin a new run without --like",
        )
    interpreters = _find_all(dict.fromkeys(cell.interpreter for cell in plan.cells), view)
    new = output or _new_folder(plan.mode)
    view.say(f"{plan.mode} run by the plan of {folder}: {len(plan.cells)} cells; in {new}")
    meta = _meta_of(new, plan, described, before, interpreters)
    with create_run(new, meta) as opened:
        return _take(opened, interpreters, view, spent_s=time.monotonic() - begun)


def _meta_of(
    folder: Path,
    plan: Plan,
    described: dict[str, Any],
    before: system.Snapshot,
    interpreters: Mapping[str, Interpreter],
) -> RunMeta:
    facts = system.gather(before, described, list(interpreters.values()))
    return RunMeta(
        schema=SCHEMA,
        run_id=folder.name,
        todobatch_version=todobatch.__version__,
        plan=plan,
        machine=described,
        interpreters={label: publishable(each) for label, each in interpreters.items()},
        git=machine.git_state(),
        started=_now(),
        doctor=checks.as_dictionaries(checks.examine(facts)),
    )


def resume(folder: Path, view: View) -> Run:
    """Go on with a run: its samples are kept, its plan and order go on.

    Raises UsageError when interpreters or machine are not what they were, StoreError, and
    InterpreterMissingError.
    """
    with open_run(folder) as opened:
        meta = opened.meta
        interpreters = _find_all(meta.interpreters, view)
        _refuse_differences(opened, interpreters)
        if opened.was_torn:
            view.say("the last line of samples.jsonl was cut off in the middle: it is dropped")
        view.say(f"{folder}: {len(opened.samples)} samples are kept")
        opened.update(resumed=(*meta.resumed, _now()), ended=None)
        return _take(opened, interpreters, view)


def inspect_file(
    path: Path,
    format: str | None,  # noqa: A002
    today: dt.date,
    say: Callable[[str], None],
) -> TaskSource:
    """Read a file of tasks once, before anything is measured: what is in it, and what is broken.

    Raises InputError and its kin for a file that cannot be read, EmptyInputError for one without
    a task. Broken records are told, and left out of the samples.
    """
    if path.exists() and not path.is_file():
        raise InputError(
            "it can be read only once, and every sample reads it",
            place=str(path),
            remedy="put its content into a file and name that",
        )
    broken: list[BrokenLineError] = []
    tasks = count(open_source(path, format=format, today=today).read(broken.append))
    for error in broken[:10]:
        say(f"skipped: {error}")
    if len(broken) > 10:
        say(f"skipped: {len(broken) - 10} more broken records")
    if not tasks:
        raise EmptyInputError(
            "there is no task in it",
            place=str(path),
            remedy="give a file with at least one task, or leave out --input",
        )
    return {
        "kind": "file",
        "path": machine.portable(path),
        "format": format,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tasks": tasks,
        "broken": len(broken),
    }


def availability(interpreter: Interpreter) -> dict[str, str | None]:
    """For each executor None, or why it cannot work there; asked of the interpreter itself."""
    code = (
        "import json, todobatch.executors as e;"
        "print(json.dumps({name: each.available() for name, each in e.EXECUTORS.items()}))"
    )
    try:
        done = subprocess.run(
            [str(interpreter.executable), "-c", code],
            check=True,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            env=worker_environment(interpreter),
        )
        return cast(dict[str, str | None], json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise InterpreterMissingError(
            f"it cannot run todobatch: {str(said).strip().splitlines()[-1:]}",
            place=f"interpreter {interpreter.spec}",
            remedy="todobatch needs Python 3.11 or later; name another with --interpreters",
        ) from error


def publishable(interpreter: Interpreter) -> dict[str, Any]:
    """The interpreter's facts as run.json may hold them: without paths of this machine."""
    facts: dict[str, Any] = dict(interpreter.facts)
    facts["executable"] = Path(facts["executable"]).name
    facts["config_args"] = machine.without_paths(facts["config_args"])
    return facts


def _take(
    opened: RunWriter,
    interpreters: Mapping[str, Interpreter],
    view: View,
    *,
    spent_s: Seconds = 0.0,
) -> Run:
    plan = opened.meta.plan
    sampler = _sampler(interpreters, plan.source, plan.today, timeout_s=_timeout(plan))
    try:
        for sample in schedule.run(opened, sampler, view.before, spent_s=spent_s):
            view.after(sample)
        for cell in schedule.given_up(plan, opened.samples):
            view.say(f"given up: {cell.key}: {schedule.ATTEMPTS} samples in a row were void")
        opened.update(ended=_now())
    except KeyboardInterrupt:
        view.close()
        view.say(f"stopped; {len(opened.samples)} samples are saved. Go on with:")
        view.say(f"  todobatch bench --resume {opened.folder}")
        pyperf_files.write(opened.run(), opened.folder)
        raise
    finally:
        sampler.close()
    pyperf_files.write(opened.run(), opened.folder)
    return opened.run()


def _sampler(
    interpreters: Mapping[str, Interpreter],
    source: Mapping[str, Any],
    today: str,
    *,
    timeout_s: Seconds,
) -> Sampler:
    return Sampler(interpreters, cast(TaskSource, dict(source)), today, timeout_s=timeout_s)


def _timeout(plan: Plan) -> Seconds:
    longest = max((shape.calibrated_s for shape in plan.shapes), default=0.0)
    return max(LEAST_TIMEOUT_S, TIMEOUT_FACTOR * longest)


def _calibrated(drafted: Draft, interpreters: Mapping[str, Interpreter], view: View) -> Plan:
    sampler = _sampler(interpreters, drafted.source, drafted.today, timeout_s=300.0)
    shapes = []
    try:
        for workload in drafted.workloads:
            shape = calibrate(sampler, drafted, workload)
            view.say(
                f"{workload}: {shape.batches} batches of {shape.batch_size} tasks a sample, "
                f"{show_seconds(shape.calibrated_s)} in sequence"
            )
            shapes.append(shape)
    finally:
        sampler.close()
    return drafted.plan(shapes)


def _find_all(specs: Iterable[str], view: View) -> dict[str, Interpreter]:
    """Each spec's interpreter, builds alike where there is a choice; all missing ones are named."""
    asked = {
        machine.portable(Path(spec)) if "/" in spec else spec: (
            str(Path(spec).expanduser()) if "/" in spec else spec
        )
        for spec in specs
    }
    try:
        found = dict(zip(asked, find_all(list(asked.values())), strict=True))
    except InterpreterMissingError:
        _say_all_missing(asked.values(), view)
        raise
    first, *others = found.values()
    for other in others:
        for difference in differences(first, other):
            view.say(f"{first.spec} and {other.spec} are not built alike: {difference}")
    return found


def _say_all_missing(specs: Iterable[str], view: View) -> None:
    """Name every missing interpreter but the first, which is the error."""
    missing = []
    for spec in specs:
        try:
            find(spec)
        except InterpreterMissingError as error:
            missing.append(error)
    for each in missing[1:]:
        view.say(f"also missing: {each}")


def _announce(
    drafted: Draft, interpreters: Mapping[str, Interpreter], folder: Path, view: View
) -> None:
    what = f"{len(drafted.cells)} cells, at most {drafted.blocks} blocks"
    limit = f", at most {drafted.budget_s:.0f} s" if drafted.budget_s else ""
    view.say(f"{drafted.mode} run: {what}{limit}; seed {drafted.seed}; in {folder}")
    for label, each in interpreters.items():
        gil = "GIL off" if not each.facts["gil_enabled"] else "GIL on"
        view.say(f"{label}: Python {each.facts['version']}, {gil}")
    for left_out, why in drafted.left_out:
        view.say(f"left out: {left_out}: {why}")
    if drafted.source["kind"] == "file":
        view.say(
            f"tasks: {drafted.source['path']}, {drafted.source['tasks']} of them, "
            "repeated to fill a sample"
        )


def _refuse_differences(opened: RunWriter, interpreters: Mapping[str, Interpreter]) -> None:
    meta = opened.meta
    now = machine.describe()
    differences = [
        *(
            f"{label}: {name} was {before.get(name)!r} and is {after!r}"
            for label, before in meta.interpreters.items()
            for name, after in publishable(interpreters[label]).items()
            if before.get(name) != after
        ),
        *(
            f"machine: {name} was {meta.machine.get(name)!r} and is {now[name]!r}"
            for name in ("cpu_model", "cpus_available", "memory_bytes")
            if meta.machine.get(name) != now[name]
        ),
    ]
    if meta.todobatch_version != todobatch.__version__:
        differences.append(f"todobatch was {meta.todobatch_version} and is {todobatch.__version__}")
    differences += _input_changed(meta.plan)
    if differences:
        raise UsageError(
            "the run was begun with something else: " + "; ".join(differences),
            place=str(opened.folder),
            remedy="begin a new run: samples of different things cannot be compared",
        )


def _input_changed(plan: Plan) -> Sequence[str]:
    if plan.source.get("kind") != "file":
        return []
    path = Path(plan.source["path"]).expanduser()
    try:
        now = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    return [] if now == plan.source["sha256"] else [f"{path} has changed"]


def _new_folder(mode: str) -> Path:
    stamp = dt.datetime.now(tz=dt.UTC).strftime("%Y%m%d-%H%M%S")
    return Path("results") / f"{stamp}-{mode}"


def _now() -> str:
    return dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds")
