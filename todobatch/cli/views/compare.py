"""Formats a comparison of two runs as text, as Markdown and as JSON."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from todobatch.cli.views.tables import WHOLE, Table, wrapped
from todobatch.lab.compare.compare import Row, RunComparison
from todobatch.lab.compare.contrasts import Method
from todobatch.lab.compare.gates import Gate
from todobatch.lab.store.schema import Estimate
from todobatch.units import show_text

MARKDOWN_LIMIT = 60_000
"""The most characters of a comment; GitHub accepts 65,536."""
NAMED = 20  # of one list; JSON names all, and so does text that is unfolded
LONGEST = 200  # characters of one name or value, likewise

What: TypeAlias = Literal["time", "efficiency"]

METHODS: Mapping[Method, str] = {
    "paired": "paired: each sample is compared with that of the same block in the other run. "
    "Both ran at the same time, so the machine's drift cancels out",
    "welch": "welch: the runs were made at different times, and the machine's drift is not "
    "removed. A machine that was faster during one of them looks like a difference",
    "welch with controls": "welch with controls: the runs were made at different times. Each "
    "block's times are relative to its control loads, which removes most of the machine's drift",
}
_WORDS_OF_EFFICIENCY = {"slower": "lower", "faster": "higher"}
_HEADINGS: Mapping[What, tuple[str, ...]] = {
    "time": ("cell", "B ÷ A", "95 % interval", "verdict", "samples", "how"),
    "efficiency": ("efficiency of", "B ÷ A", "95 % interval", "verdict", "samples", "how"),
}

_DROPPED = ("how", "samples", "95 % interval")
"""The columns that text may leave out, the least important first."""


def as_text(
    outcome: RunComparison,
    gates: Sequence[Gate] = (),
    *,
    unfold: bool = False,
    width: int = WHOLE,
) -> str:
    """Return the comparison as plain text, for a terminal of `width` columns or a log."""
    head = [_title(outcome), f"A: {_side(outcome, 'a')}", f"B: {_side(outcome, 'b')}"]
    head += [_clean(f"Forced: A and B differ in {each}") for each in outcome.differences]
    tables = ["", *_text_rows("time", outcome.rows, width, unfold=unfold)]
    if _asks_for_efficiency(gates):
        tables += ["", *_text_rows("efficiency", outcome.efficiency, width, unfold=unfold)]
    named = None if unfold else NAMED
    foot = ["", *(_clean(note) for note in notes(outcome, gates, named))]
    foot += [_clean(sentence(gate)) for gate in gates]
    return "\n".join((*wrapped(head, width), *tables, *wrapped(foot, width)))


def as_markdown(outcome: RunComparison, gates: Sequence[Gate] = (), *, unfold: bool = False) -> str:
    """Return Markdown for a comment on a pull request, shorter than `MARKDOWN_LIMIT`."""
    head = [
        f"### {_escaped(_title(outcome))}",
        "",
        *(f"**Forced: A and B differ in** {_code(e)}  " for e in outcome.differences[:NAMED]),
        *_more(outcome.differences),
        *(f"**{_escaped(sentence(gate, NAMED))}**  " for gate in gates),
        f"- A: {_code(_side(outcome, 'a'))}",
        f"- B: {_code(_side(outcome, 'b'))}",
        "",
    ]
    foot = [f"- {_escaped(note)}" for note in notes(outcome, gates, NAMED)]
    tables: list[tuple[What, Sequence[Row]]] = [("time", outcome.rows)]
    if _asks_for_efficiency(gates):
        tables.append(("efficiency", outcome.efficiency))
    room = (MARKDOWN_LIMIT - sum(len(line) + 1 for line in (*head, *foot))) // len(tables) - 1000
    body = [
        line for what, rows in tables for line in _markdown_rows(what, rows, room, unfold=unfold)
    ]
    return "\n".join((*head, *body, *foot))


def as_json(outcome: RunComparison, gates: Sequence[Gate] = ()) -> str:
    """Return one JSON document; unknown values are null."""
    document = {
        "a": {"label": outcome.a.label, "kind": outcome.a.kind, "about": outcome.a.about},
        "b": {"label": outcome.b.label, "kind": outcome.b.kind, "about": outcome.b.about},
        "forced": bool(outcome.differences),
        "refused_differences": list(outcome.differences),
        "rows": [_row("time", row) for row in outcome.rows],
        "efficiency": [_row("efficiency", row) for row in outcome.efficiency],
        "only_in_a": list(outcome.only_in_a),
        "only_in_b": list(outcome.only_in_b),
        "notes": list(notes(outcome, gates)),
        "gate": {"failed": any(g.failed for g in gates), "checks": [_gate(g) for g in gates]}
        if gates
        else None,
    }
    return json.dumps(document, indent=1, allow_nan=False)


def sentence(gate: Gate, named: int | None = None) -> str:
    """Return the result of a gate as a sentence."""
    if gate.failed:
        listed = _list(gate.failed, named)
        return f"Failed {gate.option}: {len(gate.failed)} of {gate.checked} cells: {listed}"
    open_cells = f", {gate.undecided} inconclusive" if gate.undecided else ""
    compared = f"({gate.checked} compared{open_cells})"
    if "efficiency" in gate.option:
        nothing = "in no cell did efficiency fall significantly more than the limit"
    else:
        nothing = "no cell is significantly slower than the limit"
    return f"Passed {gate.option}: {nothing} {compared}"


def notes(
    outcome: RunComparison, gates: Sequence[Gate] = (), named: int | None = None
) -> Iterator[str]:
    """Yield what a reader must know about the figures."""
    for name, only in (("A", outcome.only_in_a), ("B", outcome.only_in_b)):
        if only:
            yield f"Only in {name}, not compared ({len(only)}): {_list(sorted(only), named)}"
    for name, side in (("A", outcome.a), ("B", outcome.b)):
        yield from (f"{name}: {note}" for note in side.notes)
    if any(min(row.samples) < 2 or row.pairs == 1 for row in outcome.rows):
        yield "Some cells have one sample or pair only, which shows no spread: measure more blocks"
    shown = [*outcome.rows, *(outcome.efficiency if _asks_for_efficiency(gates) else ())]
    used = {row.method for row in shown}
    yield from (text for method, text in METHODS.items() if method in used)
    if len(outcome.rows) > 1:
        yield (
            "Verdicts, but not intervals, are corrected for "
            f"{len(outcome.rows)} comparisons (Holm). Equivalent means within 2 %"
        )


def _asks_for_efficiency(gates: Sequence[Gate]) -> bool:
    return any("efficiency" in gate.option for gate in gates)


def _title(outcome: RunComparison) -> str:
    forced = " (forced)" if outcome.differences else ""
    slower = sum(row.verdict == "slower" for row in outcome.rows)
    faster = sum(row.verdict == "faster" for row in outcome.rows)
    return (
        f"B against A{forced}: {slower} slower, {faster} faster of {len(outcome.rows)} cells "
        "(time of B ÷ A, above 1 is slower)"
    )


def _side(outcome: RunComparison, which: Literal["a", "b"]) -> str:
    side = outcome.a if which == "a" else outcome.b
    return _clean(f"{side.label}: {side.about}")


def _folded(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    return [r for r in rows if r.significant], [r for r in rows if not r.significant]


def _summary(rows: Sequence[Row]) -> str:
    equivalent = sum(row.verdict == "equivalent" for row in rows)
    cells = "1 cell shows" if len(rows) == 1 else f"{len(rows)} cells show"
    return f"{cells} no significant difference ({equivalent} equivalent within 2 %)"


def _columns(what: What, row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{_bound(row.ratio.estimate)}×",
        f"[{_bound(row.ratio.low)}, {_bound(row.ratio.high)}]",
        _verdict(what, row),
        f"{row.samples[0]} + {row.samples[1]}" if row.pairs is None else f"{row.pairs} pairs",
        row.method,
    )


def _verdict(what: What, row: Row) -> str:
    if what == "efficiency":
        return _WORDS_OF_EFFICIENCY.get(row.verdict, row.verdict)
    return row.verdict


def _bound(value: float) -> str:
    if math.isnan(value):
        return "?"
    return f"{value:.3f}" if value < 99.5 else ">99"  # two samples can leave it anywhere


def _text_rows(what: What, rows: Sequence[Row], width: int, *, unfold: bool) -> list[str]:
    significant, folded = _folded(rows)
    shown = [*significant, *folded] if unfold else significant
    headings = _HEADINGS[what]
    table = Table(headings, left=len(headings), drop=_DROPPED, long=headings[0])
    for row in shown:
        table.add_row(*_columns(what, row))
    lines = table.lines(width) if shown else []
    if folded:
        lines += wrapped([_summary(folded) + ("" if unfold else "; --all lists them")], width)
    return lines


def _markdown_rows(what: What, rows: Sequence[Row], room: int, *, unfold: bool) -> list[str]:
    shown, folded = _folded(rows)
    lines = _table(what, shown, room) if shown else []
    if folded:
        room -= sum(len(line) + 1 for line in lines)
        lines += [f"<details{' open' if unfold else ''}><summary>{_summary(folded)}</summary>", ""]
        lines += [*_table(what, folded, room), "</details>", ""]
    return lines


def _table(what: What, rows: Sequence[Row], room: int) -> list[str]:
    lines = [f"| {' | '.join(_HEADINGS[what])} |", "| --- | ---: | --- | --- | --- | --- |"]
    left = room
    for number, row in enumerate(rows):
        name, *others = _columns(what, row)
        line = f"| {' | '.join((_code(name), *others))} |"
        left -= len(line) + 1
        if left < 0:
            return [*lines, "", f"and {len(rows) - number} more, too many for a comment", ""]
        lines.append(line)
    return [*lines, ""]


def _more(names: Sequence[str]) -> list[str]:
    return [f"and {len(names) - NAMED} more", ""] if len(names) > NAMED else [""] if names else []


def _list(names: Sequence[str], named: int | None) -> str:
    shown = names if named is None else [_cut(name) for name in names[:named]]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return ", ".join(shown) + more


def _clean(text: str) -> str:
    """Put the text on one line, with what a terminal would obey shown escaped."""
    return show_text(text, keep="")


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _code(text: str) -> str:
    """Mark it as code, so that nothing in it is markup or ends a column."""
    code = _cut(_clean(text)).replace("|", "\\|")
    longest = max(map(len, re.findall("`+", code)), default=0)
    fence, gap = "`" * (longest + 1), " " * (longest > 0 or not code.strip())
    return f"{fence}{gap}{code}{gap}{fence}"


def _escaped(text: str) -> str:
    """Escape what is markup, and break what GitHub links by itself: names, numbers, addresses."""
    most = NAMED * LONGEST
    text = _clean(text)[:most]
    while True:
        plain = re.sub(r"([\\`*_{}\[\]<>|~!&])", r"\\\1", text)
        broken = re.sub(r"(?<=[@#:])(?=\S)|(?<=www)(?=\.)", "<!-- -->", plain)
        if len(broken) <= 2 * most:
            return broken
        text = text[: len(text) // 2]


def _row(what: What, row: Row) -> dict[str, Any]:
    cell = row.cell
    return {
        "name": row.name,
        "executor": cell and cell.executor,
        "workload": cell and cell.workload,
        "workers": cell and cell.workers,
        "interpreter": cell and cell.interpreter,
        "ratio": _estimate(row.ratio),
        "verdict": _verdict(what, row),
        "significant": row.significant,
        "pairs": row.pairs,
        "samples": {"a": row.samples[0], "b": row.samples[1]},
        "method": row.method,
    }


def _gate(gate: Gate) -> dict[str, Any]:
    return {
        "option": gate.option,
        "limit": gate.limit,
        "workers": gate.workers,
        "checked": gate.checked,
        "undecided": gate.undecided,
        "failed": list(gate.failed),
    }


def _estimate(ratio: Estimate) -> dict[str, float | None]:
    values: Iterable[tuple[str, float]] = (
        ("estimate", ratio.estimate),
        ("low", ratio.low),
        ("high", ratio.high),
    )
    return {name: value if math.isfinite(value) else None for name, value in values}
