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
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from tests.fuzz.inputs import INPUTS
from tests.fuzz.jobs import TITLES, Own, run_job
from tests.fuzz.mutations import damaged_json, damaged_text
from todobatch import Task, run_batches
from todobatch.cli.views import show
from todobatch.coordinator.costs import Costs
from todobatch.lab.compare.compare import compare
from todobatch.lab.compare.inputs import Measurements, measurements_of_run, read_measurements
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
    text = damaged_json(_whole_pyperf(), dice)
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
    path.write_bytes(damaged_json(json.dumps(whole).encode(), dice))
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
    for name, content in _interrupted_job(folder).items():
        (folder / name).write_bytes(content)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA synchronous = OFF")
        job, state, _ = db.execute("SELECT job, state, sha256 FROM journal").fetchone()
        if dice.random() < 0.8:
            state = damaged_json(state.encode(), dice).decode("utf-8", "replace")
        else:
            job = damaged_json(job.encode(), dice).decode("utf-8", "replace")
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
    **INPUTS,
}


@cache
def _whole_pyperf() -> bytes:
    with TemporaryDirectory() as made:
        return pyperf_files.write(load_run(GOLDEN), Path(made))[0].read_bytes()


@cache
def _interrupted_job(folder: Path) -> Mapping[str, bytes]:
    """Return the files that a job leaves in a folder after two of its three batches, by name."""
    run_job(folder / "j.db", folder / "out.jsonl", batches=2)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@cache
def _golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


@cache
def _golden_measurements() -> Measurements:
    return measurements_of_run(load_run(GOLDEN))


def _damage_run(folder: Path, name: str, dice: random.Random) -> None:
    run = folder / "run"
    run.mkdir(exist_ok=True)
    files = {each: _golden(each) for each in (META, SAMPLES, CONTROLS)}
    if dice.random() < 0.75:  # reading fewer samples is faster
        lines = files[SAMPLES].splitlines(keepends=True)
        files[SAMPLES] = b"".join(dice.sample(lines, dice.randint(1, 2)))
    if name == META:
        files[name] = damaged_json(files[name], dice)
    elif dice.random() < 0.2:
        files[name] = damaged_text(files[name], dice)
    else:
        lines = files[name].splitlines()
        at = dice.randrange(len(lines))
        lines[at] = damaged_json(lines[at], dice)
        files[name] = b"\n".join(lines) + b"\n"
    for each, content in files.items():
        (run / each).write_bytes(content)
    found = load_run(run)
    if dice.random() < 0.15:  # using a run takes several times as long as reading it
        dice.choice(USES)(found, run)


def _list_and_print(run: Run, folder: Path) -> None:
    newest_run(folder.parent)
    show.show(run, screen=Console(file=io.StringIO(), width=80))


def _as_json(run: Run, folder: Path) -> None:
    del folder
    show.as_json(run)


def _compare(run: Run, folder: Path) -> None:
    measured = measurements_of_run(run, folder)
    if measured.series:
        compare(measured, _golden_measurements(), force=True)


def _draw(run: Run, folder: Path) -> None:
    del folder
    figures = Figures.of(run)
    for sample in run.samples:
        span_frame(sample)
    assert figures.samples is not None


def _resume(run: Run, folder: Path) -> None:
    cells = tuple(cell for cell in run.meta.plan.cells if "/" not in cell.interpreter)
    strangers(replace(run.meta.plan, cells=cells))
    try:
        with open_run(folder) as opened:
            opened.update(ended=None)
            pyperf_files.write(opened.run(), folder)
    finally:
        shutil.rmtree(folder)


USES: tuple[Callable[[Run, Path], None], ...] = (
    _list_and_print,
    _as_json,
    _compare,
    _draw,
    _resume,
)
"""What `show`, `show --json`, `compare`, `report` and `bench --resume` do with a run."""
