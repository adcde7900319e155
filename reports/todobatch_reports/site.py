"""Build the site: plain files that open from any server or from a disk.

::

    pages + assets + data ─► docs/report ─► mkdocs ─► site ─► out
                              (inline scripts become files; the report's pages get a policy)

``python -m todobatch_reports.site`` builds the site of this checkout from its newest run. It is
what ``make site`` calls.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from todobatch.errors import EXIT_STORE, StoreError, TodobatchError, UsageError
from todobatch.files import temporary_folder
from todobatch.lab.store.folder import META, SAMPLES, Run, load_run, newest_run, open_inside
from todobatch.units import show_text
from todobatch_reports import pages
from todobatch_reports.charts import Chart
from todobatch_reports.frames import Figures
from todobatch_reports.markup import script_value
from todobatch_reports.policy import protect

FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")
"""Characters that begin a formula in a spreadsheet, or that it skips before one."""
ASSETS = Path(__file__).parent / "assets"
REPORT = Path("report")
"""The folder within the docs that holds the report's pages."""
OURS = Path("assets", "todobatch")
"""The folder beside the report's pages that holds its styles, scripts and charts."""


def build(run_folder: Path, out: Path, *, docs: Path | None = None, strict: bool = True) -> Path:
    """Build the site of a run into `out` and return the path of its dashboard.

    With `docs`, a folder of Markdown pages beside its ``mkdocs.yml``, the report's pages are
    written to ``docs/report`` first and the site holds both. `strict` makes a broken link an error.
    `out` is replaced when the new site is complete, and only if it is empty or holds such a site.

    Raises UsageError, StoreError, NewerSchemaError and what `todobatch.lab.stats.verdict` raises.
    """
    run = load(run_folder)
    check_replaceable(out)
    with temporary_folder("site") as work:
        write_pages(run, work / "docs", alone=docs is None)
        if docs is None:
            config, dashboard = work / "mkdocs.yml", out / "index.html"
            config.write_text(yaml.safe_dump(_config_of_report_alone(), sort_keys=False), "utf-8")
        else:
            config, dashboard = _config_beside(docs), out / REPORT / "index.html"
            check_replaceable(docs / REPORT)
            _replace(work / "docs", docs / REPORT)
        _run_mkdocs(config, work / "site", strict=strict)
        _write_index_as_script(work / "site" / "search")
        report = work / "site" / ("" if docs is None else REPORT)
        protect(work / "site", report, work / "site" / OURS)
        _replace(work / "site", out)
    return dashboard


def write_placeholders(folder: Path) -> None:
    """Write placeholder pages for the report, unless `folder` contains the report.

    The docs link to the report's pages, so they build only where those pages exist.
    """
    if (folder / "index.md").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ASSETS / "site", folder / OURS, dirs_exist_ok=True)
    text = (ASSETS / "no-report.md").read_text("utf-8")
    for name, title in pages.NAMES:
        (folder / name).write_text(text.replace("TITLE", title), "utf-8")


def load(run_folder: Path) -> Run:
    """Read a run. Raises StoreError if it cannot be read or has no valid sample."""
    run = load_run(run_folder)
    if all(sample.void is not None for sample in run.samples):
        raise StoreError(
            f"there is nothing to report: {len(run.samples)} samples, none of them valid",
            place=str(run_folder),
            remedy=f"measure samples first: todobatch bench --resume {run_folder}",
        )
    return run


def write_pages(run: Run, folder: Path, *, alone: bool) -> None:
    """Write the report's Markdown, charts, data and assets into `folder`, for MkDocs to build."""
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
    # This is a script because a page that was opened from a disk cannot load JSON.
    sizes = script_value({"wide": chart.wide.vega, "narrow": chart.narrow.vega})
    return f"(globalThis.todobatchCharts ??= {{}})[{script_value(chart.name)}] = {sizes};\n"


def _write_data(figures: Figures, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cells = figures.cells.drop(columns=["anchor", "label"])
    for name, frame in (("samples.csv", figures.samples), ("cells.csv", cells)):
        frame.map(_no_formula).to_csv(folder / name, index=False)
    if figures.run.folder is not None:
        for name in (META, SAMPLES):
            with (
                open(open_inside(figures.run.folder, name), "rb") as source,
                (folder / name).open("wb") as copy,
            ):
                shutil.copyfileobj(source, copy)


def _no_formula(value: object) -> object:
    """Put a quote before a text that a spreadsheet would run as a formula; keep numbers."""
    if not isinstance(value, str):
        return value
    text = show_text(value)  # pandas does not quote a carriage return, which would end the row
    return f"'{text}" if text.startswith(FORMULA) else text


def _config_of_report_alone() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ASSETS / "mkdocs.yml").read_text("utf-8"))
    return config | {
        "docs_dir": "docs",
        "plugins": ["search"],
        "extra_css": [(OURS / "report.css").as_posix()],
        "extra_javascript": [(OURS / "report.js").as_posix()],
        "extra": {"polyfills": [(OURS / "offline.js").as_posix()]},
        "nav": [{title: name} for name, title in pages.NAMES],
    }


def _config_beside(docs: Path) -> Path:
    config = docs.absolute().parent / "mkdocs.yml"
    if not docs.is_dir() or not config.is_file():
        raise UsageError(
            f"{docs} is not a folder of pages with a mkdocs.yml beside it",
            place="`docs`",
            remedy="leave `docs` out to build the report alone",
        )
    return config


def _run_mkdocs(config: Path, site: Path, *, strict: bool) -> None:
    command = [sys.executable, "-P", "-m", "mkdocs", "build", "-f", str(config), "-d", str(site)]
    done = subprocess.run(
        command + ["--strict"] * strict,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        # Material prints a notice about MkDocs 2 in each build.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    # The option --quiet would hide warnings from --strict too.
    messages = "\n".join(x for x in done.stderr.splitlines() if not x.startswith("INFO"))
    if done.returncode:
        raise StoreError(
            f"MkDocs could not build the site:\n{messages}",
            place=str(config),
            remedy="correct the pages that it names",
        )
    if messages:
        print(messages, file=sys.stderr)


def _write_index_as_script(folder: Path) -> None:
    """Write the search index as a script too: a page opened from a disk cannot load JSON."""
    index = (folder / "search_index.json").read_text("utf-8")
    script = f"var __index = {script_value(json.loads(index))};\n"
    (folder / "search_index.js").write_text(script, "utf-8")


def check_replaceable(out: Path) -> None:
    """Raise UsageError if `out` holds something other than a site or report made by todobatch."""
    if out.is_dir():
        made_here = (out / OURS).is_dir() or (out / REPORT / OURS).is_dir()
        if made_here or not any(out.iterdir()):
            return
    if out.exists():
        raise UsageError(
            f"{out} exists already and is not a site that todobatch made",
            place="`output`",
            remedy="name a new folder, or remove that one yourself",
        )


def _replace(new: Path, out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # The new site is copied beside the old one, which stays until the copy is complete.
        beside = out.with_name(f".{out.name}.{os.getpid()}")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(new, beside)
        shutil.rmtree(out, ignore_errors=True)
        beside.rename(out)
    except OSError as error:
        raise StoreError(
            f"the site cannot be written: {error.strerror or error}",
            place=str(out),
            remedy="free disk space, or pass another folder as `output`",
        ) from error


def default_run(results: Path) -> Path:
    """Return the newest run in `results`, or a published one where there is none.

    Raises StoreError when there is neither, or when the run cannot be read.
    """
    if any(results.glob(f"*/{META}")):
        return newest_run(results)
    full = results / "published" / "full"
    return full if (full / META).exists() else newest_run(results / "published")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the site of this checkout: the report of its newest run, and its docs."""
    parser = argparse.ArgumentParser(
        prog="python -m todobatch_reports.site", description=main.__doc__
    )
    parser.add_argument("--run", type=Path, help="a run folder (default: the newest in --results)")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("-o", "--output", type=Path, default=Path("site"))
    parser.add_argument("--strict", action="store_true", help="a broken link is an error")
    parser.add_argument(
        "--placeholders", action="store_true",
        help="only write placeholder pages for a report that was not built yet",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    if chosen.placeholders:
        write_placeholders(chosen.docs / REPORT)
        return 0
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
