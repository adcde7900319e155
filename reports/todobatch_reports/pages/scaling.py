"""The scaling page: speed by number of workers, Amdahl's law, and idle time."""

import math
from collections.abc import Sequence
from typing import Any, get_args

from todobatch.lab.store.schema import CellSummary, Sample
from todobatch.units import show_count, show_percent, show_ratio, show_seconds
from todobatch_reports import charts, readiness, scaling, tables
from todobatch_reports.charts.scaling import Measure
from todobatch_reports.frames import PHASES, Figures, lines, span_frame
from todobatch_reports.markup import Html, address
from todobatch_reports.pages.base import Pages

Profiled = tuple[CellSummary, Sample]


def context(figures: Figures, pages: Pages) -> dict[str, Any]:
    """Fill assets/templates/scaling.md."""
    shown = [w for w in figures.workloads if lines(figures.of_workload(w))]
    return {"sections": [_section(figures, pages, workload) for workload in shown]}


def _section(figures: Figures, pages: Pages, workload: str) -> dict[str, Any]:
    found = lines(figures.of_workload(workload))
    steps = [scaling.steps(figures.run, line) for line in found]
    return {
        "workload": workload,
        "top": readiness.highest_speedup(s for line in found for s in line),
        "drawn": {m: _chart(figures, pages, workload, m) for m in get_args(Measure)},
        "figures_table": _figures_table(figures, workload, found),
        "amdahl": _amdahl_table(figures, workload, found),
        "steps": _steps_table(figures, workload, steps),
        "flat": [_flattening(figures, *pair) for pair in zip(found, steps, strict=True) if pair[1]],
        "beyond": _beyond(figures, steps),
        "profile": _profile(figures, pages, workload),
    }


def _chart(figures: Figures, pages: Pages, workload: str, measure: Measure) -> Html:
    name = "Speed-up" if measure == "speedup" else "Efficiency"
    return pages.draw(
        f"{address(workload)}-{measure}",
        f"{name} on {workload}",
        f"{name} of each approach on {workload} by number of workers, against the ideal. "
        "The same figures are in the table below it.",
        charts.scaling(figures, workload, measure),
        note="Line and bar: estimate and 95 % interval. Dots: samples. Dashed line: ideal.",
    )


def _figures_table(figures: Figures, workload: str, found: list[list[CellSummary]]) -> Html:
    heads = (
        "Approach", "Workers", "Speed-up", "95 % interval", "Efficiency", "95 % interval",
        "Samples",
    )  # fmt: skip
    rows = [
        (
            figures.label(s),
            s.cell.workers,
            tables.link(s.cell, show_ratio(s.speedup.estimate)) if s.speedup else tables.NONE,
            tables.interval(s.speedup, show_ratio),
            show_percent(s.efficiency.estimate) if s.efficiency else tables.NONE,
            tables.interval(s.efficiency, show_percent),
            s.samples,
        )
        for line in found
        for s in line
    ]
    caption = f"{workload}: speed-up and efficiency by workers"
    return tables.table(caption, heads, rows, kinds=".nnnnnn")


def _amdahl_table(figures: Figures, workload: str, found: list[list[CellSummary]]) -> Html | None:
    rows = []
    frame = figures.samples
    frame = frame[(frame["workload"] == workload) & (frame["void"] == "")]
    for line in found:
        cell = line[0].cell
        here = frame[
            (frame["executor"] == cell.executor)
            & (frame["interpreter"] == figures.interpreter(cell.interpreter))
        ]
        fit = scaling.fit_amdahl(list(here["workers"]), list(here["speedup"]), cpus=figures.cpus)
        if fit is None:
            continue
        rows.append(
            (
                figures.label(line[0]),
                tables.percent_1(fit.serial.estimate),
                tables.interval(fit.serial, tables.percent_1),
                "none" if math.isinf(fit.limit) else show_ratio(fit.limit),
                show_ratio(fit.residual),
                fit.points,
            )
        )
    heads = ("Approach", "Serial fraction", "95 % interval", "Limit", "Residual", "Samples")
    caption = f"{workload}: Amdahl's law fitted to the samples"
    return tables.table(caption, heads, rows, kinds=".nnnnn") if rows else None


def _steps_table(figures: Figures, workload: str, steps: list[list[scaling.Step]]) -> Html | None:
    heads = ("Approach", "Workers", "Speed gained", "95 % interval", "Verdict", "")
    rows = [
        (
            figures.label(step.summary),
            f"{step.fewer} → {step.more}",
            tables.link(step.summary.cell, show_ratio(step.comparison.ratio.estimate)),
            tables.interval(step.comparison.ratio, show_ratio),
            tables.verdict(step.comparison.verdict),
            "more workers than CPUs" if step.beyond(figures.cpus) else "",
        )
        for line in steps
        for step in line
    ]
    caption = f"{workload}: the gain of each step to more workers"
    return tables.table(caption, heads, rows, kinds=".nnn") if rows else None


NO_GAIN = {
    "slower": "slower with {} workers than with {}",
    "equivalent": "as fast with {} workers as with {}, within 2 %",
    "inconclusive": "inconclusive: the data do not separate {} workers from {}",
}


def _flattening(
    figures: Figures, line: list[CellSummary], steps: list[scaling.Step]
) -> tuple[str, str]:
    """Return an approach's name, and up to how many workers it got faster."""
    name, stop = figures.label(line[0]), scaling.first_without_gain(steps)
    if stop is None:
        most = show_count(line[-1].cell.workers, "worker")
        return name, f"faster with each step, up to {most}, the most that was measured"
    before = f"faster up to {show_count(stop.fewer, 'worker')}; " * (stop is not steps[0])
    return name, before + NO_GAIN[stop.comparison.verdict].format(stop.more, stop.fewer)


def _beyond(figures: Figures, steps: list[list[scaling.Step]]) -> str:
    """Return a sentence about the effect of more workers than CPUs."""
    past = [step.comparison.verdict for line in steps for step in line if step.beyond(figures.cpus)]
    if not past:
        return "No cell had more workers than CPUs, so this run does not show their effect."
    parts = [
        f"{past.count(verdict)} {tables.verdict(verdict)}"
        for verdict in ("faster", "equivalent", "slower", "inconclusive")
        if verdict in past
    ]
    return (
        f"{show_count(len(past), 'step')} ended with more workers than the "
        f"{show_count(figures.cpus, 'CPU')}: {', '.join(parts)}."
    )


def _profile(figures: Figures, pages: Pages, workload: str) -> dict[str, Any] | None:
    """Compare the median samples of the fastest and slowest approach at one number of workers."""
    workers = readiness.chosen_workers(figures, workload)
    cells = figures.best_first(
        s
        for s in figures.of_workload(workload)
        if s.cell.workers == workers and s.cell.executor != "sequential"
    )
    profiled = [(s, sample) for s in cells if (sample := _median_sample(figures.good(s.cell)))]
    if len(profiled) < 2:
        return None
    shown = [profiled[0], profiled[-1]]
    chart = pages.draw(
        f"{address(workload)}-timeline",
        f"When each worker ran a batch of {workload}",
        f"Timeline of the workers of two samples of {workload}. The table below it gives busy "
        "time, idle time and load imbalance.",
        charts.timeline([(s, figures.label(s), sample) for s, sample in shown]),
        note=f"The fastest and the slowest approach with {show_count(workers, 'worker')}, "
        "each by its sample of median time.",
    )
    return {
        "chart": chart,
        "table": _balance_table(figures, workload, shown),
        "phases": _phases_table(figures, workload, profiled),
    }


def _balance_table(figures: Figures, workload: str, shown: Sequence[Profiled]) -> Html:
    heads = (
        "Approach", "Time", "Busy, by worker", "Batches, by worker", "Idle", "Imbalance",
        "Slowest batch", "Last to end", "After the last batch",
    )  # fmt: skip
    rows = [
        (
            figures.label(s),
            tables.link(s.cell, show_seconds(sample.wall_s)),
            _listed([show_seconds(b) for _, b in sorted(found.busy_s.items())]),
            _listed([str(n) for _, n in sorted(found.batches.items())]),
            show_percent(found.idle),
            show_percent(found.imbalance),
            f"{show_seconds(found.slowest_batch_s)} (batch {found.slowest_batch})",
            found.last_worker,
            show_seconds(max(0.0, sample.wall_s - found.last_end_s)),
        )
        for s, sample in shown
        if (found := scaling.balance(sample)) is not None
    ]
    return tables.table(f"{workload}: how busy the workers were", heads, rows, kinds=".n..nnn.n")


def _phases_table(figures: Figures, workload: str, shown: Sequence[Profiled]) -> Html | None:
    """Return the mean time of each phase of a batch; None if the run did not record phases."""
    rows = []
    for summary, sample in shown:
        spans = span_frame(sample)
        if spans[list(PHASES)].isna().all(axis=None):
            continue
        queue, copied_in, copied_out, back = (show_seconds(spans[p].mean()) for p in PHASES)
        computing = show_seconds(float((spans["end_s"] - spans["start_s"]).mean()))
        row = (queue, copied_in, computing, copied_out, back)
        rows.append((figures.label(summary), *row, _switches(sample)))
    heads = (
        "Approach", "Waits for a worker", "Copied in", "Computed", "Copied out",
        "Result waits", "Context switches a batch",
    )  # fmt: skip
    caption = f"{workload}: phases of a batch, on average"
    return tables.table(caption, heads, rows, kinds=".nnnnnn") if rows else None


def _switches(sample: Sample) -> str:
    if sample.voluntary_switches is None or sample.involuntary_switches is None:
        return "?"
    return f"{(sample.voluntary_switches + sample.involuntary_switches) / sample.batches:.1f}"


def _listed(values: Sequence[str], most: int = 8) -> str:
    more = f", and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more


def _median_sample(samples: Sequence[Sample]) -> Sample | None:
    with_spans = sorted((s for s in samples if s.spans), key=lambda s: s.wall_s)
    return with_spans[(len(with_spans) - 1) // 2] if with_spans else None
