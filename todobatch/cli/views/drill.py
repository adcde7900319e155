"""Shows a drill as tables, with remarks below them."""

from collections.abc import Iterator

from rich.console import Console

from todobatch.child.faults import FAULTS
from todobatch.child.peers import PEERS
from todobatch.cli.views import console
from todobatch.cli.views.tables import Table
from todobatch.lab.drill.rows import Drill, Row
from todobatch.units import show_count, show_seconds


def show(found: Drill, screen: Console | None = None) -> None:
    """Print the tables and the remarks."""
    screen = screen or console.output()
    console.line(
        screen,
        f"todobatch drill: Python {found.python}, GIL {'on' if found.gil_enabled else 'off'}, "
        f"{found.cpus} CPUs; {found.tasks} tasks in batches of {found.batch_size}, "
        f"{found.workers} workers, {found.retries} retries, a deadline of {found.deadline_s:g} s "
        f"where the executor has deadlines; {show_seconds(found.seconds)} in all",
    )
    for title, peer in (("todobatch", False), ("pools of other packages", True)):
        rows = [row for row in found.rows if row.peer is peer]
        if rows:
            screen.print()
            screen.print(_table(title, [row for row in rows if row.tasks]))
    screen.print()
    for line in lines(found):
        console.line(screen, line)


def lines(found: Drill) -> Iterator[str]:
    """Yield the remarks below the tables."""
    yield from _instead(found)
    yield from _notes(found)
    used = dict.fromkeys(row.executor for row in found.rows if row.peer and row.executor in PEERS)
    if used:
        uses = "; ".join(f"{name}: {PEERS[name].use}" for name in used)
        yield f"How other packages were used: {uses}."
    meant = "; ".join(f"{name}: {FAULTS[name].summary}" for name in _faults(found))
    yield f"The faults: {meant}."
    for row in found.failed:
        yield (
            f"Failed: {row.executor} claims to isolate {row.fault}, but lost {row.lost} of "
            f"{show_count(row.tasks, 'task')} and duplicated {row.duplicated}"
            + (f": {row.note}" if row.note else "")
        )
    promised = sum(row.isolates and not row.peer for row in found.rows)
    if promised and not found.failed:
        yield (
            f"Passed: in all {promised} rows where an executor of todobatch claims to isolate the "
            "fault, no task was lost or duplicated."
        )


def _instead(found: Drill) -> Iterator[str]:
    """Yield what to use for faults that an executor does not isolate."""
    open_rows = [row for row in found.rows if row.remedy and row.tasks and not row.peer]
    for remedy in dict.fromkeys(row.remedy for row in open_rows):
        rows = [row for row in open_rows if row.remedy == remedy]
        faults = ", ".join(dict.fromkeys(row.fault for row in rows))
        executors = ", ".join(dict.fromkeys(row.executor for row in rows))
        yield f"Not isolated by {executors}: {faults}. Use {remedy}."


def _notes(found: Drill) -> Iterator[str]:
    """Yield what was seen of peers and of failed rows, and why rows are missing."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in found.rows:
        if row.note and (row.peer or not row.tasks or not row.claim_holds):
            groups.setdefault((row.executor, row.note), []).append(row.fault)
    for (executor, note), faults in groups.items():
        which = "every fault" if len(faults) == len(_faults(found)) else ", ".join(faults)
        yield f"{executor}, {which}: {note}"


def _faults(found: Drill) -> list[str]:
    return list(dict.fromkeys(row.fault for row in found.rows))


def _table(title: str, rows: list[Row]) -> Table:
    names = ("executor", "fault", "isolates", "tasks", "done", "set aside", "lost", "duplicated",
             "recovery")  # fmt: skip
    drop = ("tasks", "set aside", "done", "isolates", "recovery")
    table = console.table(names, left=3, title=title, drop=drop)
    before = ""
    for row in rows:
        table.add_row(
            "" if row.executor == before else row.executor,
            row.fault,
            _word(row),
            str(row.tasks),
            str(row.done),
            str(row.set_aside),
            str(row.lost),
            str(row.duplicated),
            "never" if row.recovery_s is None else show_seconds(row.recovery_s),
            style=_style(row),
        )
        before = row.executor
    return table


def _word(row: Row) -> str:
    if row.peer:
        return "here" if row.isolates else "no"
    return "yes" if row.isolates else "no"


def _style(row: Row) -> str:
    if not row.claim_holds:
        return "bold red"
    return "yellow" if row.lost or row.duplicated else ""
