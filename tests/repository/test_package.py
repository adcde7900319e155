"""The built wheels work when they are installed alone, and have the public names."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import todobatch

ROOT = Path(__file__).resolve().parents[2]

PUBLIC_NAMES = [
    "Batch",
    "BatchReport",
    "Costs",
    "Hooks",
    "PerWorkerResultCollector",
    "ProcessingResult",
    "QueueResultCollector",
    "Recovery",
    "Task",
    "TaskBatchProcessor",
    "TaskFailure",
    "TaskProcessor",
    "TaskReporter",
    "TaskValidator",
    "ThreadSafeResultCollector",
    "TodobatchError",
    "__version__",
    "batched",
    "run_batch_processing_system",
    "run_batches",
]

# Run where nothing but the wheel and psutil is installed: the task path, then the parent's probe.
IMPORT_ALL = """
import sys
import todobatch
from todobatch import errors, executors, model, processors, runtime, sources, units
from todobatch import probe
foreign = {{m.partition(".")[0] for m in sys.modules}} - set(sys.stdlib_module_names)
print(sorted(name for name in foreign if not name.startswith(("_", "sitecustomize"))))
assert todobatch.__file__.startswith({folder!r}), todobatch.__file__
report = todobatch.run_batches(
    [todobatch.Task("a")] * 10, todobatch.TaskValidator(), executor="sequential", batch_size=5
)
assert (report.tasks, report.failed) == (10, 0), report
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build both distributions as a release does, and return their wheels by name."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "reports"):
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, project],
            check=True,
            capture_output=True,
        )
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def tracked(folder: str) -> set[str]:
    """Return the files below a folder that git tracks or would add."""
    return set(
        subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", folder],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
    )


def test_the_public_names_are_these() -> None:
    assert todobatch.__all__ == PUBLIC_NAMES
    assert all(hasattr(todobatch, name) for name in PUBLIC_NAMES)


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(
    wheels: dict[str, Path],
) -> None:
    packaged = {name for name in contents(wheels["todobatch"]) if ".dist-info/" not in name}
    assert "todobatch/py.typed" in packaged
    assert packaged == tracked("todobatch")


def test_the_reports_wheel_holds_its_assets(wheels: dict[str, Path]) -> None:
    packaged = {name for name in contents(wheels["todobatch_reports"]) if ".dist-info/" not in name}
    expected = {name.removeprefix("reports/") for name in tracked("reports/todobatch_reports")}
    assert "todobatch_reports/py.typed" in packaged
    assert packaged == expected


def test_a_worker_needs_the_wheel_and_psutil_only(wheels: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(wheels["todobatch"]) as archive:
        archive.extractall(tmp_path)
    # psutil alone, from where this environment has it: nothing else of it may be seen.
    import psutil

    (tmp_path / "psutil").symlink_to(Path(psutil.__file__).parent)
    done = subprocess.run(
        # -S: without site-packages.
        [sys.executable, "-S", "-c", IMPORT_ALL.format(folder=str(tmp_path))],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "['psutil', 'todobatch']"), done.stderr


@pytest.mark.timeout(600)
def test_installing_the_checkout_with_its_extras_gives_a_working_command(tmp_path: Path) -> None:
    """Run README's ``pip install '.[lab,reports]' ./reports`` with uv, which is faster."""
    from uv import find_uv_bin

    uv, venv, wanted = find_uv_bin(), tmp_path / "venv", [".[lab,reports]", "./reports"]
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    # Without the workspace's sources, which only uv knows: as pip would do it.
    with_uv = [uv, "pip", "install", "--quiet", "--python", str(venv), "--no-sources", *wanted]
    if subprocess.run(with_uv, cwd=ROOT, check=False).returncode:
        # pip knows an index or a certificate that only pip's own configuration names.
        with_pip = [sys.executable, "-m", "pip", "--python", str(venv), "install", "-q", *wanted]
        subprocess.run(with_pip, cwd=ROOT, check=True)
    done = subprocess.run(
        [venv / "bin" / "todobatch", "--help"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, "bench" in done.stdout) == (0, True), done.stderr
