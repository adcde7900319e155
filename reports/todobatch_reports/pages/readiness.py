"""The production-readiness page: the checklist, the choice by kind of work, and resource use."""

from typing import Any

from todobatch.units import show_bytes, show_count, show_percent, show_seconds
from todobatch_reports import charts, readiness, tables
from todobatch_reports.frames import Figures
from todobatch_reports.markup import Html
from todobatch_reports.pages.base import Pages

MARKS = {"met": "✓", "not met": "✗", "inconclusive": "?", "not measured": "–"}
KINDS = {
    "cpu": "Processor-bound",
    "io": "Waiting (I/O-bound)",
    "mixed": "Hybrid: computing and waiting",
    "own": "Your own",
}


def context(figures: Figures, pages: Pages) -> dict[str, Any]:
    """Fill assets/templates/readiness.md."""
    points = readiness.checklist(figures)
    kinds = {kind: readiness.winners_of_kind(figures, kind) for kind in KINDS}
    interpreters = figures.meta.interpreters
    return {
        "points": points,
        "checklist": _checklist(points),
        "met": sum(point.state == "met" for point in points),
        "kinds": [(KINDS[kind], winners) for kind, winners in kinds.items() if winners],
        "absent": [KINDS[k] for k, winners in kinds.items() if not winners and k != "own"],
        "resources": [_resources(figures, workload) for workload in figures.workloads],
        "memory_chart": _memory_chart(figures, pages),
        "savings": [s for w in figures.workloads if (s := readiness.memory_saving(figures, w))],
        "tax": readiness.thread_tax(figures),
        "unoptimized": [
            figures.interpreter(spec)
            for spec, facts in interpreters.items()
            if not facts.get("optimized_build")
        ],
    }


def _checklist(points: list[readiness.Point]) -> Html:
    state = Html('<span class="tb-state tb-{}">{} {}</span>')
    rows = [
        (
            point.question,
            state.format(point.state.replace(" ", "-"), MARKS[point.state], point.state),
            Html(" ").join(
                [point.evidence, *(tables.link(cell, cell.key) for cell in point.cells[:3])]
            ),
        )
        for point in points
    ]
    heads = ("Question", "On this machine", "Evidence")
    return tables.table("Readiness checklist", heads, rows, kinds="w.w", stacks=True)


def _memory_chart(figures: Figures, pages: Pages) -> Html:
    workload = figures.workloads[0]
    workers = show_count(readiness.chosen_workers(figures, workload), "worker")
    return pages.draw(
        "memory",
        f"Peak memory on {workload}",
        f"Peak memory of each approach on {workload}. The figures are in the table below it.",
        charts.memory(figures, readiness.side_by_side(figures, workload)),
        note=f"The whole process tree with {workers}; sequential has one. The mark at a bar's end "
        "is the 95 % interval.",
    )


def _resources(figures: Figures, workload: str) -> Html:
    tasks = next(s.tasks for s in figures.run.samples if s.void is None and s.workload == workload)
    heads = (
        "Approach", "Workers", "Peak memory", "95 % interval", "CPU in use", "CPU a task",
        "Tasks a second", "Pool start",
    )  # fmt: skip
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
        for s in figures.best_first(readiness.side_by_side(figures, workload))
    ]
    return tables.table(f"{workload}: what each approach uses", heads, rows, kinds=".nnnnnnn")
