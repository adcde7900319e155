"""From a run folder to a folder of files that any server, or none, can show.

::

    pages + assets + data [+ docs]  ─►  work/docs  ─►  mkdocs  ─►  work/site  ─►  out
                                                             (scripts moved into files)

``python -m todobatch_reports.site`` builds the newest run of this checkout with its docs: it is
what ``make site`` calls.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from todobatch.errors import EXIT_STORE, StoreError, TodobatchError, UsageError
from todobatch.lab.store.folder import META, SAMPLES, Run, load_run, newest_run
from todobatch_reports import pages
from todobatch_reports.charts import Chart, as_json
from todobatch_reports.frames import Figures

ASSETS = Path(__file__).parent / "assets"
OURS = Path("assets", "todobatch")
"""Where the report's own files lie within a site; a folder that has it may be built over."""


def build(run_folder: Path, out: Path, *, docs: Path | None = None, strict: bool = True) -> Path:
    """Build the site of a run into `out`; gives the path of its ``index.html``.

    With `docs`, hand-written pages are in it as well: `docs` lies beside a ``mkdocs.yml`` whose
    ``docs_dir`` is ``build/docs``, and everything is gathered there, so that plain ``mkdocs build``
    works afterwards. `strict` refuses broken links. What was in `out` is replaced as a whole when
    the new site is complete, and never if it is something other than a site of ours.

    Raises UsageError, StoreError, NewerSchemaError and what `todobatch.lab.stats.verdict` raises.
    """
    run = load(run_folder)
    check_replaceable(out)
    with tempfile.TemporaryDirectory(prefix="todobatch-site-") as scratch:
        work = Path(scratch)
        if docs is None:
            gathered, config = work / "docs", work / "mkdocs.yml"
            config.write_text(yaml.safe_dump(_own_config(), sort_keys=False), "utf-8")
        else:
            gathered, config = _beside(docs)
            shutil.rmtree(gathered, ignore_errors=True)
            _gather_docs(docs, gathered)
        write_pages(run, gathered, alone=docs is None)
        _run_mkdocs(config, work / "site", strict=strict)
        move_scripts_into_files(work / "site")
        _replace(work / "site", out)
    return out / "index.html"


def load(run_folder: Path) -> Run:
    """Read the run. Raises StoreError also when there is no sample to report."""
    run = load_run(run_folder)
    if all(sample.void is not None for sample in run.samples):
        raise StoreError(
            f"there is nothing to report: {len(run.samples)} samples, none of them good",
            place=str(run_folder),
            remedy=f"take some first: todobatch bench --resume {run_folder}",
        )
    return run


def write_pages(run: Run, folder: Path, *, alone: bool) -> None:
    """Write Markdown, charts, data and assets of the report into MkDocs' source folder."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = Figures.of(run)
    made = pages.make(figures, alone=alone)
    ours = folder / OURS
    shutil.copytree(ASSETS / "site", ours, dirs_exist_ok=True)
    for name, text in made.texts.items():
        (folder / name).write_text(text, "utf-8")
    (ours / "charts").mkdir(exist_ok=True)
    for chart in made.charts:
        (ours / "charts" / f"{chart.name}.js").write_text(_chart_script(chart), "utf-8")
    _write_data(figures, folder / "data")


def _chart_script(chart: Chart) -> str:
    # A script and no JSON: a page that was opened from a disk may load scripts only.
    sizes = f'{{"wide":{as_json(chart.wide)},"narrow":{as_json(chart.narrow)}}}'
    return f'(globalThis.todobatchCharts ??= {{}})["{chart.name}"] = {sizes};\n'


def _write_data(figures: Figures, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figures.samples.to_csv(folder / "samples.csv", index=False)
    figures.cells.drop(columns=["anchor", "label"]).to_csv(folder / "cells.csv", index=False)
    if figures.run.folder is not None:
        for name in (META, SAMPLES):
            shutil.copyfile(figures.run.folder / name, folder / name)


# MkDocs -------------------------------------------------------------------------------------------


def _own_config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ASSETS / "mkdocs.yml").read_text("utf-8"))
    config["docs_dir"] = "docs"
    config["nav"] = [{title: name} for name, title in pages.NAMES]
    return config


def _beside(docs: Path) -> tuple[Path, Path]:
    config = docs.absolute().parent / "mkdocs.yml"
    if not docs.is_dir() or not config.is_file():
        raise UsageError(
            f"{docs} is no folder of pages with a mkdocs.yml beside it",
            place="--docs",
            remedy="leave --docs out to build the report alone",
        )
    return config.parent / "build" / "docs", config


def _gather_docs(docs: Path, gathered: Path) -> None:
    shutil.copytree(docs, gathered)
    overview = gathered / "index.md"
    if overview.exists():
        # The site opens with the verdict; the overview of the docs is a page of its own.
        overview.rename(gathered / "documentation.md")


def _run_mkdocs(config: Path, site: Path, *, strict: bool) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-f",
        str(config),
        "-d",
        str(site),
    ]
    done = subprocess.run(
        command + ["--strict"] * strict,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        # Material prints a notice about MkDocs 2 in each build.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    # Not --quiet: that also hides from --strict what it should refuse.
    said = [line for line in done.stderr.splitlines() if not line.startswith("INFO")]
    if done.returncode:
        raise StoreError(
            "mkdocs could not build the site:\n" + "\n".join(said),
            place=str(config),
            remedy="correct what it names",
        )
    if said:
        print("\n".join(said), file=sys.stderr)


INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def move_scripts_into_files(site: Path) -> None:
    """Move the theme's inline scripts into files, so that ``script-src 'self'`` is enough.

    Data blocks (``<script type=…>``) are not run and stay. Scripts run in the same order as before.
    """
    folder = site / OURS / "inline"
    folder.mkdir(parents=True, exist_ok=True)
    for page in site.rglob("*.html"):
        up = os.path.relpath(folder, page.parent).replace(os.sep, "/")

        def moved(found: re.Match[str], up: str = up) -> str:
            code = found[1]
            name = f"{hashlib.sha256(code.encode()).hexdigest()[:12]}.js"
            (folder / name).write_text(code, "utf-8")
            return f'<script src="{up}/{name}"></script>'

        page.write_text(INLINE_SCRIPT.sub(moved, page.read_text("utf-8")), "utf-8")


# The folder that is built into --------------------------------------------------------------------


def check_replaceable(out: Path) -> None:
    """Refuse to replace what is not a site of ours. Raises UsageError."""
    if out.is_dir() and (not any(out.iterdir()) or (out / OURS).is_dir()):
        return
    if out.exists():
        raise UsageError(
            f"{out} is there already and is not a site that todobatch made",
            place="--output",
            remedy="name a new folder, or remove that one yourself",
        )


def _replace(new: Path, out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Copied beside the target first: the old site is there until the new one is whole.
        beside = out.with_name(f".{out.name}.{os.getpid()}")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(new, beside)
        shutil.rmtree(out, ignore_errors=True)
        beside.rename(out)
    except OSError as error:
        raise StoreError(
            f"the site cannot be written: {error.strerror or error}",
            place=str(out),
            remedy="make room, or name another folder with -o",
        ) from error


def default_run(results: Path) -> Path:
    """The newest run in `results`; where there is none, a published one, the full one first.

    Raises StoreError when there is neither, or when one that is there cannot be read.
    """
    taken_here = any(results.glob(f"*/{META}"))
    if taken_here:
        return newest_run(results)
    full = results / "published" / "full"
    return full if (full / META).exists() else newest_run(results / "published")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the site of this checkout: its newest run, with its docs."""
    parser = argparse.ArgumentParser(
        prog="python -m todobatch_reports.site", description=main.__doc__
    )
    parser.add_argument("--run", type=Path, help="a run folder (default: the newest in --results)")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("-o", "--output", type=Path, default=Path("site"))
    parser.add_argument("--strict", action="store_true", help="a broken link is an error")
    chosen = parser.parse_args(arguments)
    try:
        run = chosen.run or default_run(chosen.results)
        print(f"The site of {run}:")
        print(build(run, chosen.output, docs=chosen.docs, strict=chosen.strict))
    except TodobatchError as error:
        print(f"todobatch: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"todobatch: error: {error}", file=sys.stderr)
        return EXIT_STORE
    return 0


if __name__ == "__main__":
    sys.exit(main())
