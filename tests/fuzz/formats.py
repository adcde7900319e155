"""Each format that todobatch reads from a file, and what is done with a damaged one.

A function gets a folder and dice. It writes a damaged file and uses it as the commands do. It
returns normally or raises a `TodobatchError`; anything else that it raises is a bug.
"""

import gzip
import hashlib
import io
import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.fuzz.jobs import TITLES, Own, run_job
from tests.fuzz.mutations import damaged, damaged_text, text_of
from todobatch import Task, run_batches
from todobatch.cli.views import show
from todobatch.coordinator.costs import Costs
from todobatch.lab.compare.compare import compare
from todobatch.lab.compare.inputs import measurements_of_run, read_measurements
from todobatch.lab.plan.trust import strangers
from todobatch.lab.store import pyperf_files
from todobatch.lab.store.folder import CONTROLS, META, SAMPLES, Run, load_run, newest_run
from todobatch.lab.store.writer import open_run
from todobatch_reports.frames import Figures, span_frame

GOLDEN = Path(__file__).parents[1] / "lab" / "store" / "golden" / "schema-2"


def meta(folder: Path, dice: random.Random) -> None:
    """A run whose run.json is damaged."""
    _damage_run(folder, META, dice)


def samples(folder: Path, dice: random.Random) -> None:
    """A run whose samples.jsonl is damaged."""
    _damage_run(folder, SAMPLES, dice)


def controls(folder: Path, dice: random.Random) -> None:
    """A run whose controls.jsonl is damaged."""
    _damage_run(folder, CONTROLS, dice)


def pyperf(folder: Path, dice: random.Random) -> None:
    """A pyperf file, compressed or not."""
    whole = pyperf_files.write(load_run(GOLDEN), _fresh(folder))[0].read_bytes()
    text = _damaged_json(whole, dice)
    if dice.random() < 0.2:
        text = gzip.compress(text, 1)
        text = damaged_text(text, dice) if dice.random() < 0.5 else text
    path = folder / "it.json"
    path.write_bytes(text)
    found = read_measurements(path)
    compare(found, found)


def costs(folder: Path, dice: random.Random) -> None:
    """A file of costs."""
    rows = [[n, 2 * n, 2, 0.5] for n in range(3)]
    whole = {"format": "todobatch costs", "version": 1, "processor": "own", "batches": rows}
    path = folder / "costs.json"
    path.write_bytes(_damaged_json(json.dumps(whole).encode(), dice))
    with Costs(path, batch_size=2) as opened:
        run_batches(
            [Task(title) for title in TITLES], Own(), executor="sequential", batch_size=2,
            order="longest", costs=opened,
        )  # fmt: skip
    Costs(path, batch_size=2)


def journal(folder: Path, dice: random.Random) -> None:
    """A journal with damaged fields under a right checksum, and the job that is resumed."""
    path, out = folder / "j.db", folder / "out.jsonl"
    for old in folder.glob("*"):
        old.unlink()
    run_job(path, out, batches=2)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA synchronous = OFF")
        job, state, _ = db.execute("SELECT job, state, sha256 FROM journal").fetchone()
        if dice.random() < 0.8:
            state = _damaged_json(state.encode(), dice).decode("utf-8", "replace")
        else:
            job = _damaged_json(job.encode(), dice).decode("utf-8", "replace")
        seal = hashlib.sha256(f"{job}\n{state}".encode("utf-8", "replace")).hexdigest()
        db.execute("UPDATE journal SET job = ?, state = ?, sha256 = ?", (job, state, seal))
    db.close()
    run_job(path, out)
    rows = Counter(json.loads(line)["task"] for line in out.read_text().splitlines())
    assert rows == Counter(range(len(TITLES))), "each task has one row"


FORMATS: Mapping[str, Callable[[Path, random.Random], None]] = {
    "run.json": meta,
    "samples.jsonl": samples,
    "controls.jsonl": controls,
    "pyperf": pyperf,
    "costs": costs,
    "journal": journal,
}


def _damage_run(folder: Path, name: str, dice: random.Random) -> None:
    run = _fresh(folder)
    for each in GOLDEN.iterdir():
        shutil.copyfile(each, run / each.name)
    whole = (run / name).read_bytes()
    if name == META or dice.random() < 0.2:
        text = _damaged_json(whole, dice) if name == META else damaged_text(whole, dice)
    else:
        lines = whole.splitlines()
        at = dice.randrange(len(lines))
        lines[at] = _damaged_json(lines[at], dice)
        text = b"\n".join(lines) + b"\n"
    (run / name).write_bytes(text)
    found = load_run(run)
    if dice.random() < 0.3:  # it takes several times as long
        _use_run(found, run)


def _use_run(run: Run, folder: Path) -> None:
    """Do with a run what `show`, `compare`, `report` and `bench --resume` do."""
    newest_run(folder.parent)
    show.as_json(run)
    show.show(run, screen=Console(file=io.StringIO(), width=80))
    measured = measurements_of_run(run, folder)
    if measured.series:
        compare(measured, measurements_of_run(load_run(GOLDEN)), force=True)
    figures = Figures.of(run)
    for sample in run.samples:
        span_frame(sample)
    assert figures.samples is not None
    strangers(
        replace(
            run.meta.plan, cells=tuple(c for c in run.meta.plan.cells if "/" not in c.interpreter)
        )
    )
    with open_run(folder) as opened:
        opened.update(ended=None)
        pyperf_files.write(opened.run(), folder)


def _damaged_json(text: bytes, dice: random.Random) -> bytes:
    if dice.random() < 0.1:
        return damaged_text(text, dice)
    return text_of(damaged(json.loads(text), dice))


def _fresh(folder: Path) -> Path:
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    return run
