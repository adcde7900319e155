"""Read what is to be compared, a run folder or a pyperf file, into the same records.

    run folder ─┐
                ├─► Measurements: a Series per cell or benchmark, with a Point per timed process
    pyperf file ┘

A ratio means nothing unless both inputs have the same `facts`. A fact that only one input knows is
not compared.
"""

import datetime as dt
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

from todobatch.errors import StoreError, UsageError
from todobatch.files import exists, is_folder, read_regular
from todobatch.ipc.decoding import Only, from_json
from todobatch.lab.stats.estimate import CLOCK_TICK, good_samples
from todobatch.lab.stats.verdict import cpus_of
from todobatch.lab.store.folder import Run, is_part_of_run, load_run, no_folder
from todobatch.lab.store.schema import Cell, Control, Sample, WorkloadShape
from todobatch.lab.store.strict_json import as_json, parse
from todobatch.units import Bytes, Ratio, Seconds, show_bytes, show_count

LARGEST: Bytes = 64_000_000
"""A larger pyperf file is refused, also when it is larger once it is decompressed."""
LEAST_TIME: Seconds = 1e-15
LARGEST_TIME: Seconds = 1e9
"""A pyperf file with a time outside of these limits is refused."""

MACHINE_FACTS = (
    *("cpu_model", "cpus", "cpus_available", "cpu_quota", "os", "kernel", "architecture"),
    *("virtualised", "governor", "turbo"),
)
INTERPRETER_FACTS = (
    *("version", "implementation", "free_threaded_build", "gil_enabled", "debug_build"),
    *("optimized_build", "lto_build", "config_args", "compiler"),
)
PYPERF_FACTS = (
    *("cpu_model_name", "cpu_count", "cpu_config", "platform", "python_version"),
    *("python_implementation", "python_compiler", "python_cflags", "todobatch_gil"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One timed process. Unknown values are None or NaN."""

    wall_s: Seconds
    """Wall time; for pyperf the geometric mean of the process's values."""
    block: int | None = None
    started_s: Seconds = math.nan
    """Start time in seconds since 1970, UTC."""
    process_s: Seconds = 0.0
    """Lifetime of the process."""
    cpu_share: Ratio = math.nan
    """CPU seconds ÷ wall seconds."""


@dataclass(frozen=True, slots=True)
class Series:
    """All measurements of one cell, or of one benchmark of pyperf."""

    name: str
    cell: Cell | None
    """The cell; None for a pyperf benchmark."""
    points: tuple[Point, ...]
    facts: Mapping[str, str]
    """Facts about the interpreter and the workload, by name."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a comparison needs from a run folder or a pyperf file."""

    kind: Literal["run folder", "pyperf file"]
    label: str
    about: str
    """Version, date and size, for headings."""
    facts: Mapping[str, str]
    """Facts about the machine and the plan, by name."""
    series: Mapping[str, Series]
    controls: Mapping[int, float]
    """For each block the mean logarithm of its control loads' seconds."""
    cpus: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Run:
    """What is read of a run in a pyperf file, one process; there is more in it."""

    values: tuple[float, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Benchmark:
    """What is read of a benchmark in a pyperf file."""

    runs: Annotated[list[_Run], Only(len, "at least one run")]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Suite:
    """What is read of a pyperf file."""

    version: Annotated[str, Only(lambda text: text.startswith("1."), "the format 1.0")]
    benchmarks: list[_Benchmark]
    metadata: dict[str, Any] = field(default_factory=dict)


def read_measurements(path: Path) -> Measurements:
    """Read a run folder or a pyperf file. Raises StoreError for anything else, or a damaged one."""
    if is_folder(path):
        return measurements_of_run(load_run(path), path)
    if not exists(path):
        raise StoreError(
            "there is no such file or folder",
            place=str(path),
            remedy="name a run folder that todobatch bench wrote, or a JSON file of pyperf",
        )
    if is_part_of_run(path):
        raise no_folder(path)
    return _read_pyperf(path)


def measurements_of_run(run: Run, path: Path | None = None) -> Measurements:
    """Return the measurements of a run. Void samples are left out, and counted in the notes."""
    meta = run.meta
    shapes = {shape.workload: shape for shape in meta.plan.shapes}
    series = {
        cell.key: Series(
            cell.key,
            cell,
            tuple(_point(samples[block]) for block in sorted(samples)),
            {
                **_known(
                    f"interpreter {cell.interpreter}",
                    INTERPRETER_FACTS,
                    meta.interpreters.get(cell.interpreter, {}),
                ),
                **_shape_facts(shapes.get(cell.workload)),
            },
        )
        for cell, samples in good_samples(run).items()
    }
    blocks = len({sample.block for sample in run.samples})
    commit = _commit(meta.git)
    return Measurements(
        kind="run folder",
        label=(path.name if path else "") or meta.run_id,
        about=(
            f"run {meta.run_id}, todobatch {meta.todobatch_version}{commit}, "
            f"{show_count(blocks, 'block')}, started {meta.started}"
        ),
        facts={
            **_known("machine", MACHINE_FACTS, meta.machine),
            **_memory(meta.machine),
            "plan today": meta.plan.today,
            **{f"plan source {name}": str(value) for name, value in meta.plan.source.items()},
        },
        series=series,
        controls=_mean_logs(run.controls),
        cpus=cpus_of(run),
        notes=tuple(_notes(run)),
    )


def _point(sample: Sample) -> Point:
    return Point(
        wall_s=max(sample.wall_s, CLOCK_TICK),
        block=sample.block,
        started_s=_posix(sample.started),
        process_s=sample.process_s,
        cpu_share=sample.cpu_s / max(sample.wall_s, CLOCK_TICK),
    )


def _posix(text: Any) -> Seconds:
    """Return an ISO date as seconds since 1970; NaN for anything else. No time zone means UTC."""
    try:
        date = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return math.nan
    return (date if date.tzinfo else date.replace(tzinfo=dt.UTC)).timestamp()


def _mean_logs(controls: Iterable[Control]) -> dict[int, float]:
    logs: dict[int, list[float]] = {}
    for control in controls:
        if control.wall_s > 0:
            logs.setdefault(control.block, []).append(math.log(control.wall_s))
    return {block: math.fsum(each) / len(each) for block, each in logs.items()}


def _known(what: str, names: Iterable[str], values: Mapping[str, Any]) -> dict[str, str]:
    return {f"{what} {name}": str(values[name]) for name in names if name in values}


def _memory(machine: Mapping[str, Any]) -> dict[str, str]:
    """Return the memory, rounded because the exact size differs by some pages between boots."""
    size = machine.get("memory_bytes")
    return {"machine memory": show_bytes(size)} if size else {}


def _shape_facts(shape: WorkloadShape | None) -> dict[str, str]:
    if shape is None:
        return {}
    what = f"workload {shape.workload}"
    sizes = {f"{what} batches": str(shape.batches), f"{what} batch_size": str(shape.batch_size)}
    return {**sizes, f"{what} digest": shape.digest} if shape.digest else sizes


def _commit(git: Mapping[str, Any]) -> str:
    if not git.get("commit"):
        return ""
    return f", commit {str(git['commit'])[:7]}{' with changes' if git.get('dirty') else ''}"


def _notes(run: Run) -> Iterator[str]:
    if run.meta.ended is None:
        yield "unfinished"
    if run.torn:
        yield "the last line of samples.jsonl is incomplete and left out"
    if voids := sum(sample.void is not None for sample in run.samples):
        yield f"{voids} of {len(run.samples)} samples are void and left out"


def _read_pyperf(path: Path) -> Measurements:
    """Read the format that pyperf has written since 1.0 (pyperf._bench.BenchmarkSuite)."""
    raw = _json(path)
    try:
        series, others = _benchmarks(from_json(_Suite, raw, loose=True))
    except UsageError as error:
        place = error.place.removeprefix("_Suite").lstrip(".")
        cause = error.cause.replace("`", "'")
        what = f"{place}: {cause}" if place else cause
        raise _not_pyperf(path, what) from error
    if others and not series:
        raise StoreError(
            f"it has no times, and only times can be compared: {', '.join(others)}",
            place=str(path),
            remedy="name a pyperf file whose unit is second",
        )
    processes = sum(len(each.points) for each in series.values())
    notes = (f"not compared, because they are not times: {', '.join(others)}",) if others else ()
    return Measurements(
        kind="pyperf file",
        label=path.name,
        about=f"pyperf file, {show_count(len(series), 'benchmark')}, "
        f"{show_count(processes, 'process', 'processes')}",
        facts={},
        series=series,
        controls={},
        notes=notes,
    )


def _json(path: Path) -> Any:
    try:
        data = read_regular(path, most=LARGEST)
        if data.startswith(b"\x1f\x8b"):  # pyperf writes *.json.gz too
            data = gzip.GzipFile(fileobj=BytesIO(data)).read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}",
            place=str(path),
            remedy="make it readable, or copy it again",
        ) from error
    if len(data) > LARGEST:
        raise _not_pyperf(path, f"it has more than {show_bytes(LARGEST)} once it is decompressed")
    try:
        return parse(data)
    except UsageError as error:
        raise _not_pyperf(path, error.cause) from error
    except RecursionError as error:
        raise _not_pyperf(path, "it is nested too deep") from error
    except ValueError as error:
        raise _not_pyperf(path, f"not JSON ({error})") from error


def _not_pyperf(path: Path, what: str) -> StoreError:
    return StoreError(
        f"not a pyperf file, or a damaged one: {what}",
        place=str(path),
        remedy="name a run folder that todobatch bench wrote, or a JSON file of pyperf",
    )


def _benchmarks(suite: _Suite) -> tuple[dict[str, Series], list[str]]:
    """Return the series of every benchmark that measures time, and the others with their units.

    Raises UsageError, whose place is in the file.
    """
    series: dict[str, Series] = {}
    others: dict[str, str] = {}
    for number, benchmark in enumerate(suite.benchmarks):
        place = f"benchmarks[{number}]"
        shared = {**suite.metadata, **benchmark.metadata}
        runs = [(run.values, {**shared, **run.metadata}) for run in benchmark.runs]
        if "name" not in runs[0][1]:
            raise UsageError("its metadata has no name", place=place)
        name = str(runs[0][1]["name"])
        if name in series or name in others:
            raise UsageError(f"benchmark {name[:200]!r} occurs twice", place=place)
        unit = runs[0][1].get("unit", "second")
        if unit != "second":
            others[name] = f"{name} (unit {str(unit)[:40]})"
            continue
        # A run without values only calibrated the number of loops.
        timed = [(at, *run) for at, run in enumerate(runs) if run[0]]
        points = tuple(
            _pyperf_point(values, metadata, f"{place}.runs[{at}]") for at, values, metadata in timed
        )
        if points:
            facts = _pyperf_facts(name, [metadata for *_, metadata in timed])
            series[name] = Series(name, None, points, facts)
    return series, list(others.values())


def _pyperf_point(values: Sequence[float], metadata: Mapping[str, Any], place: str) -> Point:
    """Return all values of a process as one point, because they share its memory layout.

    Source: Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013. Raises UsageError.
    """
    for number, value in enumerate(values):
        _check_time(value, f"{place}.values[{number}]")
    duration = metadata.get("duration", 0.0)
    if duration != 0 or isinstance(duration, bool):  # pyperf may not have measured it
        _check_time(duration, f"{place}.metadata.duration")
    block = metadata.get("todobatch_block")
    return Point(
        wall_s=math.exp(math.fsum(map(math.log, values)) / len(values)),
        block=block if isinstance(block, int) else None,
        started_s=_posix(metadata.get("date")),
        process_s=duration,
    )


def _check_time(value: Any, place: str) -> None:
    if type(value) not in {int, float}:
        raise UsageError(f"{as_json(value)} is not a number of seconds", place=place)
    if not LEAST_TIME <= value <= LARGEST_TIME:
        raise UsageError(
            f"{value:g} is not a number of seconds from {LEAST_TIME:g} to {LARGEST_TIME:g}",
            place=place,
        )


def _pyperf_facts(name: str, runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for metadata in runs:
        for fact in PYPERF_FACTS:
            if fact in metadata:
                found.setdefault(fact, set()).add(str(metadata[fact]))
        if "todobatch_tasks" in metadata:
            tasks = str(metadata["todobatch_tasks"])
            found.setdefault(f"benchmark {name} todobatch_tasks", set()).add(tasks)
    return {fact: ", ".join(sorted(values)) for fact, values in found.items()}
