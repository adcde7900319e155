"""Texts that somebody could put into a run to act on its reader, and a run that is full of them."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.tools import made_up
from todobatch.lab.store.schema import Cell, RunMeta, Sample

OUTSIDE = "http://127.0.0.1:1"
MARKUP = (
    "[click](javascript:alert(1))",
    f"![x]({OUTSIDE}/x.png)",
    "x { onmouseover=alert(1) }",
    "x { #id .class onclick=alert(1) }",
    "{: onmouseover=alert(1) }",
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- <b> --> <b>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}",
    "{% raw %}",
    '--8<-- "/etc/passwd"',
    f"[x]: {OUTSIDE}/y",
    f"<{OUTSIDE}/z>",
    "<javascript:alert(1)>",
    "a | b || c",
    "*a* _b_ **c** __d__ ~~e~~ ^f^ ==g==",
    "`a` ``b`` ```c``` ~~~ d",
    ":smile: :material-alert:",
    "&lt;b&gt; &amp; &#60; &copy;",
    "[^1] [TOC] *[HTML]: x",
    "a\\*b \\\\ \\<b\\>",
    "$x$ \\(x\\)",
    "#!python x",
    "x  # y #",
    "datum.kind === 'x' || alert(1)",
)
"""Markup of every language that a text passes through on its way into a page."""
LINES = (
    "a\n\n# heading\n\n- item\n1. one\n> quote",
    "a\n```\ncode\n```\n~~~ html\n<b>\n~~~",
    "a\n\n    code\n\n<script>alert(1)</script>\n",
    "a\n===\nb\n---\n\n!!! note\n    text\n\n??? x\n    y",
    "| a | b |\n| --- | --- |\n| c | d |",
    "a\n: definition\n\n[^1]: note\n\n*[a]: b",
    "</p></div></td></table></details></figure></article>\n\n# x",
    "a\r\nb\rc\u2028d\u2029e\x85f\x0bg\x0ch",
)
"""The same in text with line breaks."""
CONTROL = (
    "\x1b]0;title\x07 \x1b[2J \x1b[31m",
    "\x9b2J \x90x\x9c",
    "a\x00b\x08c\x7f",
    "\x02wzxhzdk:0\x03 \x02amp\x03",
    "\u202egnp.exe\u202c \u2066x\u2069",
    "zero\u200bwidth\u200d \ufeff\u00ad",
    "\udcff \ud800",
)
"""Characters that act on a terminal or on the text around them, or that nobody sees."""
ALL = (*MARKUP, *LINES, *CONTROL)
HARMLESS = ("naïve café", "数据", "a.b/c-d (e), 50 %; f", "a\u00a0b\u202fc", "x × y · z – w")

WORKLOADS = (
    "x { onmouseover=alert(1) }",
    " ".join(text for text in MARKUP if len(text) < 32),
    LINES[0] + CONTROL[0] + CONTROL[4],
)
"""Each is the name of a workload of the run."""


def run() -> tuple[RunMeta, list[Sample]]:
    """A run in which every text is hostile, and no two fields have the same one."""
    texts = itertools.cycle(ALL)
    meta = made_up.full_meta(mode="quick", blocks=2, workloads=("example8",), workers=(2,))
    names = {"3.14": next(texts), "3.14t": next(texts), "processes": "`x` <b>{ .y }"}
    samples = made_up.full_samples(meta)

    def named(cell: Cell, workload: str) -> dict[str, Any]:
        return {
            "workload": workload,
            "interpreter": names.get(cell.interpreter, cell.interpreter),
            "executor": names.get(cell.executor, cell.executor),
        }

    hostile = [
        replace(s, **named(s.cell, w), **_texts(s, texts)) for w in WORKLOADS for s in samples
    ]
    last = replace(hostile[-1], void="\n".join(ALL), worker_totals=[])
    plan = replace(
        meta.plan,
        cells=tuple(replace(c, **named(c, w)) for w in WORKLOADS for c in meta.plan.cells),
        shapes=tuple(replace(meta.plan.shapes[0], workload=w) for w in WORKLOADS),
        left_out=tuple((next(texts), next(texts)) for _ in range(5)),
        mode="quick",
    )
    interpreters = {
        names[spec]: facts | {"version": next(texts), "compiler": next(texts), "config_args": text}
        for (spec, facts), text in zip(meta.interpreters.items(), texts, strict=False)
    }
    return replace(
        meta,
        run_id=next(texts),
        todobatch_version=next(texts),
        plan=plan,
        machine=meta.machine
        | {f"a {text}": text for text in ALL}
        | {"cpu_model": ALL[2], "load": [7.7, 1.0, 1.0]},
        interpreters=interpreters,
        git={"commit": next(texts) * 3, "dirty": True},
        doctor=[
            {
                "name": next(texts),
                "severity": "warning",
                "seen": text,
                "effect": text,
                "remedy": text,
            }
            for text in ALL[:4]
        ],
    ), [*hostile[:-1], last]


def _texts(sample: Sample, texts: Iterator[str]) -> dict[str, Any]:
    """Worker names, in spans too, and what was recorded beside the times."""
    names: dict[str, str] = {}
    for span in sample.spans:
        names.setdefault(span[0], next(texts))
    return {
        "spans": [[names[span[0]], *span[1:]] for span in sample.spans],
        "worker_totals": [{"worker": name, "batches": 1} for name in names.values()],
        "peak_method": ALL[sample.number % len(ALL)],
        "started": "2026-01-05T10:00:00+00:00",
    }
