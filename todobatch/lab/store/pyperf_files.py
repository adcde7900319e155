"""Export a run's samples as pyperf suites, which ``python -m pyperf stats|hist|compare_to`` reads.

There is one file per interpreter, with a benchmark ``workload/executor/workers`` for each cell. So
``compare_to 3.14.json 3.14t.json`` finds the same names in both. The files are rewritten from
samples.jsonl each time. Void samples are left out.
"""

import errno
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from todobatch.files import is_folder, is_link, short_name, write_atomically
from todobatch.lab.stats.estimate import good_samples
from todobatch.lab.store.folder import Run, unusable
from todobatch.lab.store.schema import Cell, Sample

# The version of pyperf's own file format (pyperf._bench.BenchmarkSuite, since pyperf 1.0).
_FORMAT = "1.0"


def write(run: Run, folder: Path) -> list[Path]:
    """Write ``<folder>/pyperf/<interpreter>.json`` and return the paths. Raises StoreError."""
    good = good_samples(run)
    paths = []
    for interpreter in dict.fromkeys(cell.interpreter for cell in good):
        cells = [cell for cell in good if cell.interpreter == interpreter]
        suite = {
            "version": _FORMAT,
            "metadata": _shared(run, interpreter),
            "benchmarks": [
                {"runs": [_run(cell, good[cell][block]) for block in sorted(good[cell])]}
                for cell in sorted(cells)
            ],
        }
        path = folder / "pyperf" / f"{short_name(interpreter)}.json"
        try:
            _make_folder(path.parent)
            write_atomically(path, (json.dumps(suite) + "\n").encode(), follow=False)
        except OSError as error:
            more = f", then write the file again with `resume={folder}`"
            cause = "cannot be written (all samples are saved)"
            place = path.parent if isinstance(error, NotADirectoryError) else path
            raise unusable(place, cause, error, more) from error
        paths.append(path)
    return paths


def _make_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(exist_ok=True)
    link = is_link(folder)
    if link or not is_folder(folder):
        what = "a symbolic link" if link else "a file"
        raise NotADirectoryError(errno.ENOTDIR, f"{what} is in the place of this folder")


def _shared(run: Run, interpreter: str) -> dict[str, Any]:
    """Return metadata that all samples of an interpreter share, under pyperf's names."""
    machine, python = run.meta.machine, run.meta.interpreters.get(interpreter, {})
    known = {
        "cpu_count": machine.get("cpus"),
        "cpu_model_name": machine.get("cpu_model"),
        "platform": machine.get("kernel"),
        "python_compiler": python.get("compiler"),
        "python_implementation": python.get("implementation"),
        "python_version": python.get("version"),
    }
    return {name: value for name, value in known.items() if value}


def _run(cell: Cell, sample: Sample) -> dict[str, Any]:
    metadata = {name: value for name, value in sample.pyperf.items() if name != "value"}
    metadata.update(
        name=f"{cell.workload}/{cell.executor}/{cell.workers}",
        unit="second",
        loops=1,
        todobatch_interpreter=cell.interpreter,
        todobatch_gil="on" if sample.gil_enabled else "off",
        todobatch_block=sample.block,
        todobatch_tasks=sample.tasks,
        todobatch_cpu_s=sample.cpu_s,
        todobatch_peak_bytes=sample.peak_bytes,
    )
    return {"metadata": metadata, "values": [sample.wall_s]}
