"""The pages: words from assets/templates, figures from the run, and nothing in between."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from operator import itemgetter
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import todobatch
from todobatch.lab.stats import estimate
from todobatch.lab.store.schema import CellSummary, Sample
from todobatch.processors import WORKLOADS
from todobatch.units import show_bytes, show_percent, show_ratio, show_seconds
from todobatch_reports import charts, readiness, scaling, tables
from todobatch_reports.charts import Chart, Drawing
from todobatch_reports.frames import PHASES, Figures, anchor, said, span_frame, spread

TEMPLATES = Path(__file__).parent / "assets" / "templates"
# File, title in the navigation.
NAMES = (
    ("index.md", "Dashboard"),
    ("scaling.md", "Scaling"),
    ("readiness.md", "Production readiness"),
    ("method.md", "Method"),
    ("data.md", "Data"),
)
SIZE = Markup('<div class="tb-{size}" style="height:{height}px" aria-hidden="true">{svg}</div>')
FIGURE = Markup(
    '<figure class="tb-figure"><figcaption>{title}{note}</figcaption>'
    '<div class="tb-chart" data-chart="{name}" role="img" tabindex="0" '
    'aria-label="{alternative}">{sizes}</div></figure>'
)


@dataclass(slots=True)
class Pages:
    """The Markdown of each page by file name, and every chart drawn for them."""

    texts: dict[str, str] = field(default_factory=dict)
    charts: list[Chart] = field(default_factory=list)

    def draw(self, chart: Chart) -> Markup:
        """Keep a chart and give the HTML that stands for it on the page."""
        self.charts.append(chart)
        sizes = Markup("").join(
            SIZE.format(size=size, height=drawing.height, svg=_markup(drawing))
            for size, drawing in (("wide", chart.wide), ("narrow", chart.narrow))
        )
        note = Markup("<span>{}</span>").format(chart.note) if chart.note else ""
        return FIGURE.format(
            title=chart.title,
            note=note,
            name=chart.name,
            alternative=chart.alternative,
            sizes=sizes,
        )


def make(figures: Figures, *, alone: bool = True) -> Pages:
    """Write every page of the report; `alone` when the site has no other pages beside them."""
    pages = Pages()
    environment = _environment()
    shared = {**_shared(figures), "alone": alone}
    for file, context in (
        ("index.md", _dashboard(figures, pages)),
        ("scaling.md", _scaling(figures, pages)),
        ("readiness.md", _readiness(figures, pages)),
        ("method.md", _method(figures)),
        ("data.md", _data(figures)),
    ):
        pages.texts[file] = environment.get_template(file).render(**shared, **context)
    return pages


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        # Whatever comes from a run is escaped; a name that is missing is an error and not a gap.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        seconds=show_seconds,
        bytes=show_bytes,
        percent=show_percent,
        ratio=show_ratio,
        count=tables.count,
    )
    return environment


def _markup(drawing: Drawing) -> Markup:
    # Markdown would end the block of HTML at an empty line.
    return Markup(" ".join(drawing.svg.split("\n")))  # noqa: S704 - Vega escapes the text in it


def slug(workload: str) -> str:
    """A workload's name as part of an address: a user's own may hold dots and colons."""
    return "".join(c if c.isalnum() else "-" for c in workload)


def _stresses(workload: str) -> str:
    info = WORKLOADS.get(workload)
    return info.stresses if info else "your own processor"


def _shared(figures: Figures) -> dict[str, Any]:
    meta = figures.meta
    good = [sample for sample in figures.run.samples if sample.void is None]
    return {
        "meta": meta,
        "plan": meta.plan,
        "figures": figures,
        "machine": machine_name(figures),
        "started": meta.started[:16].replace("T", " "),
        "good": len(good),
        "voids": len(figures.run.samples) - len(good),
        "blocks": len({sample.block for sample in good}),
        "quick": meta.plan.mode == "quick",
        "unfinished": meta.ended is None,
        "slug": slug,
        "said": said,
        "stresses": _stresses,
        "link": tables.link,
        "with_interval": tables.with_interval,
        "show_ratio": show_ratio,
    }


def machine_name(figures: Figures) -> str:
    """One line for the machine: its processor, and how many CPUs the run could use."""
    model = str(figures.meta.machine.get("cpu_model") or "this machine")
    return f"{model}, {tables.count(figures.cpus, 'CPU')}"


# Dashboard ----------------------------------------------------------------------------------------


def _dashboard(figures: Figures, pages: Pages) -> dict[str, Any]:
    return {"sections": [_dashboard_section(figures, pages, w) for w in figures.workloads]}


def _dashboard_section(figures: Figures, pages: Pages, workload: str) -> dict[str, Any]:
    cells = figures.of_workload(workload)
    best = tables.best_of_each(figures, cells)
    winner = figures.winner(workload)
    chart = None
    if tables.lines(cells):
        chart = pages.draw(
            charts.make(
                f"{slug(workload)}-speedups",
                f"Speed-up on {workload}",
                f"Speed-up of each approach on {workload} with its 95 % interval. "
                f"{winner.sentence} All figures are in the tables on this page.",
                charts.speedups(figures, workload),
                note="By approach, and within it by number of workers. Mark and bar: estimate and "
                "95 % interval. Dashes: sequential.",
            )
        )
    return {
        "workload": workload,
        "winner": winner,
        "chart": chart,
        "best": tables.comparison(
            figures, best, f"{workload}: each approach with its fastest number of workers"
        ),
        "all": tables.comparison(figures, cells, f"{workload}: every cell"),
        "cells": len(cells),
    }


# Scaling ------------------------------------------------------------------------------------------


def _scaling(figures: Figures, pages: Pages) -> dict[str, Any]:
    shown = [w for w in figures.workloads if tables.lines(figures.of_workload(w))]
    return {"sections": [_scaling_section(figures, pages, workload) for workload in shown]}


def _scaling_section(figures: Figures, pages: Pages, workload: str) -> dict[str, Any]:
    found = tables.lines(figures.of_workload(workload))
    steps = [scaling.steps(figures.run, line) for line in found]
    top = max(
        (summary for line in found for summary in line if summary.speedup is not None),
        key=lambda summary: summary.speedup.estimate if summary.speedup else 0.0,
        default=None,
    )
    names = {"speedup": "Speed-up", "efficiency": "Efficiency"}
    drawn = {
        measure: pages.draw(
            charts.make(
                f"{slug(workload)}-{measure}",
                f"{name} on {workload}",
                f"{name} of each approach on {workload} by number of workers, against the ideal. "
                "The same figures are in the table below it.",
                charts.scaling(figures, workload, measure),  # type: ignore[arg-type]
                note="Line and bar: estimate and 95 % interval. Dots: samples. Dashes: ideal.",
            )
        )
        for measure, name in names.items()
    }
    return {
        "workload": workload,
        "top": top,
        "drawn": drawn,
        "figures_table": _scaling_table(figures, workload, found),
        "amdahl": _amdahl_table(figures, workload, found),
        "steps": _steps_table(figures, workload, steps),
        "flat": _flattening(figures, found, steps),
        "beyond": _beyond(figures, steps),
        "profile": _profile(figures, pages, workload),
    }


def _scaling_table(figures: Figures, workload: str, found: list[list[CellSummary]]) -> Markup:
    heads = (
        "Approach",
        "Workers",
        "Speed-up",
        "95 % interval",
        "Efficiency",
        "95 % interval",
        "Samples",
    )
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
    return tables.table(
        f"{workload}: speed-up and efficiency by workers", heads, rows, kinds=".nnnnnn"
    )


def _amdahl_table(figures: Figures, workload: str, found: list[list[CellSummary]]) -> Markup | None:
    rows = []
    frame = figures.samples
    for line in found:
        cell = line[0].cell
        here = frame[
            (frame["workload"] == workload)
            & (frame["executor"] == cell.executor)
            & (frame["interpreter"] == figures.interpreter(cell.interpreter))
            & (frame["void"] == "")
        ]
        fit = scaling.fit_amdahl(list(here["workers"]), list(here["speedup"]), cpus=figures.cpus)
        if fit is None:
            continue
        limit = "none" if math.isinf(fit.limit) else show_ratio(fit.limit)
        rows.append(
            (
                figures.label(line[0]),
                _percent_1(fit.serial.estimate),
                tables.interval(fit.serial, _percent_1),
                limit,
                show_ratio(fit.residual),
                fit.points,
            )
        )
    if not rows:
        return None
    heads = ("Approach", "Serial fraction", "95 % interval", "Limit", "Residual", "Samples")
    return tables.table(f"{workload}: Amdahl's law fitted", heads, rows, kinds=".nnnnn")


def _percent_1(fraction: float) -> str:
    return f"{fraction * 100:.1f} %"


def _steps_table(figures: Figures, workload: str, steps: list[list[scaling.Step]]) -> Markup | None:
    heads = ("Approach", "Workers", "Brought", "95 % interval", "Verdict", "")
    rows = [
        (
            figures.label(step.summary),
            f"{step.fewer} → {step.more}",
            tables.link(step.summary.cell, show_ratio(step.comparison.ratio.estimate)),
            tables.interval(step.comparison.ratio, show_ratio),
            step.comparison.verdict,
            "more workers than CPUs" if step.beyond(figures.cpus) else "",
        )
        for line in steps
        for step in line
    ]
    if not rows:
        return None
    return tables.table(f"{workload}: what each further step brought", heads, rows, kinds=".nnn")


NO_GAIN = {
    "slower": "slower with {} workers than with {}",
    "equivalent": "no faster with {} workers than with {}",
    "inconclusive": "the samples cannot tell {} workers from {}",
}


def _flattening(
    figures: Figures, found: list[list[CellSummary]], steps: list[list[scaling.Step]]
) -> list[tuple[str, str]]:
    said = []
    for line, taken in zip(found, steps, strict=True):
        if not taken:
            continue
        name, stop = figures.label(line[0]), scaling.first_without_gain(taken)
        if stop is None:
            most = tables.count(line[-1].cell.workers, "worker")
            said.append((name, f"faster with each step, up to {most}, the most measured"))
            continue
        before = f"faster up to {tables.count(stop.fewer, 'worker')}; " * (stop is not taken[0])
        said.append((name, before + NO_GAIN[stop.comparison.verdict].format(stop.more, stop.fewer)))
    return said


def _beyond(figures: Figures, steps: list[list[scaling.Step]]) -> str:
    past = [step for line in steps for step in line if step.beyond(figures.cpus)]
    if not past:
        return "No cell had more workers than CPUs, so this run cannot say what they do."
    verdicts = [step.comparison.verdict for step in past]
    parts = [
        f"{verdicts.count(verdict)} {verdict}"
        for verdict in ("faster", "equivalent", "slower", "inconclusive")
        if verdict in verdicts
    ]
    return (
        f"Of {tables.count(len(past), 'step')} to more workers than the "
        f"{tables.count(figures.cpus, 'CPU')}: {', '.join(parts)}."
    )


def _profile(figures: Figures, pages: Pages, workload: str) -> dict[str, Any] | None:
    """The best and the worst approach at one number of workers, each by its median sample."""
    workers = readiness.chosen_workers(figures, workload)
    candidates = [
        (summary, sample)
        for summary in figures.of_workload(workload)
        if summary.cell.workers == workers and summary.cell.executor != "sequential"
        if (sample := _median_sample(figures.good(summary.cell))) is not None
    ]
    if len(candidates) < 2:
        return None
    order = figures.best_first(summary for summary, _ in candidates)
    candidates.sort(key=lambda pair: order.index(pair[0]))
    shown = [candidates[0], candidates[-1]]
    judged = [(s, sample, scaling.balance(sample)) for s, sample in shown]
    drawn = pages.draw(
        charts.make(
            f"{slug(workload)}-timeline",
            f"When each worker ran a batch of {workload}",
            f"Timeline of the workers of two samples of {workload}. The table below it gives busy "
            "time, idle time and load imbalance.",
            charts.timeline([(s, figures.label(s), sample) for s, sample in shown]),
            note=f"The fastest and the slowest approach with {tables.count(workers, 'worker')}, "
            "each by its sample of median time.",
        )
    )
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
        for s, sample, found in judged
        if found is not None
    ]
    return {
        "workers": workers,
        "phases": _phases(figures, workload, candidates),
        "chart": drawn,
        "table": tables.table(
            f"{workload}: how busy the workers were", heads, rows, kinds=".n..nnn.n"
        ),
    }


def _phases(
    figures: Figures, workload: str, shown: Sequence[tuple[CellSummary, Sample]]
) -> Markup | None:
    """What a batch goes through, by approach; None for a run that did not record it."""
    rows = []
    for summary, sample in shown:
        spans = span_frame(sample)
        if spans[list(PHASES)].isna().all(axis=None):
            continue
        means = spans[list(PHASES)].mean()
        computing = float((spans["end_s"] - spans["start_s"]).mean())
        rows.append(
            (
                figures.label(summary),
                *(show_seconds(means[name]) for name in ("queue_s", "deserialise_s")),
                show_seconds(computing),
                *(show_seconds(means[name]) for name in ("serialise_s", "return_s")),
                _switches(sample),
            )
        )
    heads = (
        "Approach", "Waits for a worker", "Copied in", "Computes", "Copied out",
        "Waits to be taken", "Context switches a batch",
    )  # fmt: skip
    title = f"{workload}: what a batch goes through, on average"
    return tables.table(title, heads, rows, kinds=".nnnnnn") if rows else None


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


# Production readiness -----------------------------------------------------------------------------

STATES = {
    "met": "✓ met",
    "not met": "✗ not met",
    "inconclusive": "? inconclusive",
    "not measured": "– not measured",
}
KINDS = (
    ("cpu", "Processor-bound"),
    ("io", "Waiting (I/O-bound)"),
    ("mixed", "Hybrid: computing and waiting"),
    ("own", "Your own"),
)


def _readiness(figures: Figures, pages: Pages) -> dict[str, Any]:
    points = readiness.checklist(figures)
    heads = ("Question", "On this machine", "Evidence")
    rows = [
        (
            point.question,
            Markup('<span class="tb-state tb-{}">{}</span>').format(
                point.state.replace(" ", "-"), STATES[point.state]
            ),
            Markup("{} {}").format(point.evidence, _evidence_links(point)),
        )
        for point in points
    ]
    kinds = [(name, readiness.winners_of_kind(figures, kind)) for kind, name in KINDS]
    main = figures.workloads[0]
    side = readiness.side_by_side(figures, main)
    workers = readiness.chosen_workers(figures, main)
    return {
        "points": points,
        "checklist": tables.table("Readiness checklist", heads, rows, kinds="w.w", stacks=True),
        "met": sum(point.state == "met" for point in points),
        "kinds": [(name, winners) for name, winners in kinds if winners],
        "absent": [
            name
            for (kind, name), (_, w) in zip(KINDS, kinds, strict=True)
            if not w and kind != "own"
        ],
        "resources": [_resources(figures, workload) for workload in figures.workloads],
        "main": main,
        "workers": workers,
        "memory_chart": pages.draw(
            charts.make(
                "memory",
                f"Peak memory on {main}",
                f"Peak memory of each approach on {main}. The figures are in the table below it.",
                charts.memory(figures, side),
                note=f"The whole process tree with {tables.count(workers, 'worker')}; sequential "
                "has one. The mark at a bar's end is the 95 % interval.",
            )
        ),
        "savings": [s for w in figures.workloads if (s := readiness.memory_saving(figures, w))],
        "tax": readiness.thread_tax(figures),
        "unoptimized": [
            figures.interpreter(spec)
            for spec, facts in figures.meta.interpreters.items()
            if not facts.get("optimized_build")
        ],
    }


def _evidence_links(point: readiness.Point) -> Markup:
    return Markup(" ").join(tables.link(cell, cell.key) for cell in point.cells[:3])


def _resources(figures: Figures, workload: str) -> Markup:
    side = figures.best_first(readiness.side_by_side(figures, workload))
    tasks = {(s.workload): s.tasks for s in figures.run.samples if s.void is None}[workload]
    heads = (
        "Approach",
        "Workers",
        "Peak memory",
        "95 % interval",
        "CPU in use",
        "CPU a task",
        "Tasks a second",
        "Start of the pool",
    )
    rows = [
        (
            figures.label(s),
            s.cell.workers,
            tables.link(s.cell, show_bytes(s.peak_bytes.estimate)),
            tables.interval(s.peak_bytes, show_bytes),
            show_percent(s.cpu_use),
            show_seconds(s.cpu_s.estimate / tasks),
            f"{tasks / s.wall_s.estimate:,.0f}",
            show_seconds(s.pool_start_s.estimate),
        )
        for s in side
    ]
    return tables.table(f"{workload}: what each approach uses", heads, rows, kinds=".nnnnnnn")


BUILT_WITH = ("pandas", "scipy", "altair", "vl-convert-python", "mkdocs-material")

# Method -------------------------------------------------------------------------------------------


def _method(figures: Figures) -> dict[str, Any]:
    meta = figures.meta
    return {
        "machine_table": tables.table(
            "The machine", ("What", "Value"), _machine_rows(figures), kinds="ww"
        ),
        "interpreter_table": tables.table(
            "The interpreters",
            ("Interpreter", "Version", "Build", "GIL", "Compiler", "Configured with"),
            [_interpreter_row(figures, spec) for spec in meta.interpreters],
            kinds="..w.ww",
        ),
        "spread_table": _spread_table(figures),
        "worst_spread": _worst_spread(figures),
        "shapes": tables.table(
            "What one sample is",
            ("Workload", "Batches", "Tasks a batch", "Stresses"),
            [
                (s.workload, s.batches, s.batch_size, _stresses(s.workload))
                for s in meta.plan.shapes
            ],
            kinds=".nnw",
        ),
        "left_out": tables.table(
            "Left out of the plan", ("What", "Why"), meta.plan.left_out, kinds="ww"
        )
        if meta.plan.left_out
        else None,
        "void_table": _void_table(figures),
        "drift": _drift(figures),
        "confidence": estimate.CONFIDENCE,
        "equivalent": estimate.EQUIVALENT_WITHIN,
        "peak_methods": sorted({s.peak_method for s in figures.run.samples}),
        "versions": [
            ("todobatch", todobatch.__version__),
            *((name, metadata.version(name)) for name in BUILT_WITH),
        ],
    }


MACHINE = {
    "cpu_model": "processor",
    "cpus": "CPUs of the machine",
    "cpus_available": "CPUs that the run could use",
    "affinity": "their numbers",
    "memory_bytes": "memory",
    "swap_bytes": "swap",
    "os": "system",
    "virtualised": "virtual machine of",
    "vcpu_packing": "kernel packs short threads onto few CPUs",
    "cpu_quota": "CPUs granted by the cgroup",
    "governor": "frequency governor",
    "load": "load average at the start (1, 5, 15 minutes)",
}


def _machine_rows(figures: Figures) -> Iterator[tuple[str, object]]:
    for name, value in figures.meta.machine.items():
        yield MACHINE.get(name, name.replace("_", " ")), _machine_value(name, value)


def _machine_value(name: str, value: object) -> object:
    if name.endswith("bytes") and isinstance(value, int):
        return show_bytes(value)
    if isinstance(value, dict):
        return (
            ", ".join(f"{key}: {_machine_value(str(key), item)}" for key, item in value.items())
            or tables.NONE
        )
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or tables.NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return tables.NONE if value is None or value == "" else value


def _interpreter_row(figures: Figures, spec: str) -> tuple[object, ...]:
    facts = figures.meta.interpreters[spec]
    build = [
        "free-threaded" if facts.get("free_threaded_build") else "with GIL",
        "PGO" if facts.get("optimized_build") else "no PGO",
        "LTO" if facts.get("lto_build") else "no LTO",
        *(["debug"] if facts.get("debug_build") else []),
    ]
    return (
        figures.interpreter(spec),
        f"{facts.get('implementation', '')} {facts.get('version', '')}".strip(),
        ", ".join(build),
        tables.gil(enabled=bool(facts.get("gil_enabled", True))),
        facts.get("compiler") or tables.NONE,
        facts.get("config_args") or tables.NONE,
    )


def _spreads(figures: Figures) -> Iterator[tuple[CellSummary, float]]:
    for summary in figures.summaries:
        samples = figures.good(summary.cell)
        if len(samples) > 1:
            yield summary, spread([sample.wall_s for sample in samples])


def _worst_spread(figures: Figures) -> tuple[CellSummary, float] | None:
    return max(_spreads(figures), key=itemgetter(1), default=None)


def _spread_table(figures: Figures) -> Markup | None:
    rows = [
        (
            summary.cell.workload,
            figures.label(summary),
            summary.cell.workers,
            summary.samples,
            tables.link(summary.cell, _percent_1(value)),
        )
        for summary, value in sorted(_spreads(figures), key=lambda pair: -pair[1])
    ]
    if not rows:
        return None
    heads = ("Workload", "Approach", "Workers", "Samples", "Spread")
    return tables.table("Spread of wall time, widest first", heads, rows, kinds="..nnn")


def _drift(figures: Figures) -> float | None:
    """Slowest block ÷ fastest − 1, by sequential time relative to each cell's own mean."""
    frame = figures.samples
    base = frame[(frame["executor"] == "sequential") & (frame["void"] == "")]
    relative = base["wall_s"] / base.groupby(["workload", "interpreter"])["wall_s"].transform(
        "mean"
    )
    by_block = relative.groupby(base["block"]).mean()
    return float(by_block.max() / by_block.min() - 1) if len(by_block) > 1 else None


def _void_table(figures: Figures) -> Markup | None:
    rows = [
        (sample.number, sample.cell.key, sample.void)
        for sample in figures.run.samples
        if sample.void is not None
    ]
    return (
        tables.table("Void samples", ("Sample", "Cell", "Why"), rows, kinds="n.w") if rows else None
    )


# Data ---------------------------------------------------------------------------------------------

COLUMNS = (
    ("number, block, position", "order in which samples were taken"),
    ("workload, executor, interpreter, workers", "the cell, as it was asked for"),
    ("approach", "derived: the executor and whether the GIL was on in its workers"),
    ("gil_enabled", "as the workers reported it"),
    ("wall_s", "seconds from the first batch handed out to the last result taken in"),
    ("speedup", "derived: wall_s of the sequential sample of the same block ÷ wall_s"),
    ("cpu_s, cpu_use", "CPU seconds of the process tree; derived: share of all CPUs' time"),
    ("pool_start_s, process_s", "seconds to bring the workers up; life of the whole process"),
    (
        "voluntary_switches, involuntary_switches",
        "context switches of the process tree; empty where the system does not tell",
    ),
    ("peak_bytes, peak_method", "peak memory of the process tree and how it was read"),
    ("tasks, failed, batches", "what the sample worked on"),
    ("digest", "digest of the output: the same in every sample of a workload"),
    ("load_1m, started", "load average and time when the sample began"),
    ("void", "why a sample must not be used; empty for good ones"),
)


def _data(figures: Figures) -> dict[str, Any]:
    heads = (
        "Cell", "Approach", "Samples", "Time", "95 % interval", "Speed-up", "95 % interval",
        "CPU time", "CPU", "Memory", "Pool start", "Cold",
    )  # fmt: skip
    rows = [
        (
            s.cell.key,
            s.approach,
            f"{s.samples}" + (f" + {s.voids} void" if s.voids else ""),
            show_seconds(s.wall_s.estimate),
            tables.interval(s.wall_s, show_seconds),
            *tables.speedup(s),
            show_seconds(s.cpu_s.estimate),
            show_percent(s.cpu_use),
            show_bytes(s.peak_bytes.estimate),
            show_seconds(s.pool_start_s.estimate),
            show_seconds(s.cold_s.estimate),
        )
        for s in figures.summaries
    ]
    return {
        "cells": tables.table(
            "Every cell",
            heads,
            rows,
            kinds="..nnnnnnnnnn",
            ids=[anchor(s.cell) for s in figures.summaries],
        ),
        "columns": tables.table(
            "Columns of samples.csv", ("Column", "What it holds"), COLUMNS, kinds="ww"
        ),
    }
