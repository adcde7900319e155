"""A drill as people read it: a table, and under it what the figures do not say."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from todobatch.child.faults import FAULTS
from todobatch.child.peers import PEERS
from todobatch.lab.drill.rows import Drill, Row
from todobatch.units import show_seconds

LEAST_WIDTH = 104


def show(found: Drill, console: Console | None = None) -> None:
    """Print all of it."""
    screen = console or _console()
    say = _Printer(screen)
    gil = "on" if found.gil else "off"
    say.line(
        f"todobatch drill: Python {found.python}, GIL {gil}, {found.cpus} CPUs; {found.tasks} "
        f"tasks in batches of {found.batch_size}, {found.workers} workers, a deadline of "
        f"{found.deadline_s:g} s where there are deadlines, {found.retries} retries; "
        f"{show_seconds(found.seconds)} in all"
    )
    for title, peer in (("todobatch", False), ("others, as their documentation says", True)):
        rows = [row for row in found.rows if row.peer is peer]
        if rows:
            say.gap()
            screen.print(_table(title, [row for row in rows if row.tasks]))
    say.gap()
    for line in lines(found):
        say.line(line)


def lines(found: Drill) -> Iterator[str]:
    """What a reader must know beside the table."""
    yield from _instead(found)
    yield from _notes(found)
    used = dict.fromkeys(row.executor for row in found.rows if row.peer and row.executor in PEERS)
    if used:
        yield f"How others were used: {'; '.join(f'{name}: {PEERS[name].use}' for name in used)}."
    meant = "; ".join(f"{name}: {FAULTS[name].summary}" for name in _faults(found))
    yield f"The faults: {meant}."
    for row in found.failed:
        yield (
            f"FAILED: {row.executor} says that it isolates {row.fault}, and lost {row.lost} and "
            f"doubled {row.duplicated} of {row.tasks} tasks" + (f": {row.note}" if row.note else "")
        )
    promised = sum(row.isolates and not row.peer for row in found.rows)
    if promised and not found.failed:
        yield (
            f"All {promised} rows in which an executor of todobatch says that it isolates the "
            "fault bear it out: nothing lost, nothing done twice."
        )


def _instead(found: Drill) -> Iterator[str]:
    """For what our executors do not isolate: what to use."""
    open_still = [row for row in found.rows if row.remedy and row.tasks and not row.peer]
    for remedy in dict.fromkeys(row.remedy for row in open_still):
        rows = [row for row in open_still if row.remedy == remedy]
        faults = ", ".join(dict.fromkeys(row.fault for row in rows))
        executors = ", ".join(dict.fromkeys(row.executor for row in rows))
        yield f"Not isolated by {executors}: {faults}. Use {remedy}."


def _notes(found: Drill) -> Iterator[str]:
    """What was seen of others, of rows that break a word, and why there are none of some."""
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
    table = Table(
        title=title, box=None, pad_edge=False, header_style="bold", title_justify="left",
        title_style="bold",
    )  # fmt: skip
    names = ("executor", "fault", "isolates", "tasks", "done", "set aside", "lost", "doubled",
             "recovery")  # fmt: skip
    for name in names:
        table.add_column(name, justify="left" if name in names[:3] else "right", no_wrap=True)
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


def _console() -> Console:
    console = Console(highlight=False, emoji=False)
    console.width = max(console.width, LEAST_WIDTH)
    return console


class _Printer:
    """Lines that are text and no markup, wrapped at the console's width."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen

    def line(self, text: str) -> None:
        self._screen.print(escape(text))

    def gap(self) -> None:
        self._screen.print()
