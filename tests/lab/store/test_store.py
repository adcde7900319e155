"""The run folder loses no saved sample, and refuses what it cannot read."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tools.made_up import SEQ, THREADS, meta, sample
from todobatch.errors import NewerSchemaError, StoreError
from todobatch.lab.store.folder import CONTROLS, META, SAMPLES, load_run, newest_run
from todobatch.lab.store.schema import SCHEMA, Control
from todobatch.lab.store.writer import RunWriter, create_run, open_run

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_run_reads_back_as_it_was_written(folder: Path) -> None:
    samples = [sample(SEQ), sample(THREADS, void="its process was killed (SIGKILL)")]
    with create_run(folder, meta()) as opened:
        for each in samples:
            opened.append(each)
    run = load_run(folder)
    assert run.meta == meta()
    assert run.samples == samples
    assert not run.torn


def test_a_sample_is_in_the_file_before_append_returns(folder: Path) -> None:
    with create_run(folder, meta()) as opened:
        opened.append(sample(SEQ))
        assert load_run(folder).samples == [sample(SEQ)]


def test_times_that_were_never_seen_are_null_in_the_file(folder: Path) -> None:
    with create_run(folder, meta()) as opened:
        opened.append(sample(SEQ, void="crashed", cpu_s=math.nan))
    line = (folder / SAMPLES).read_text()
    assert json.loads(line)["cpu_s"] is None
    assert math.isnan(load_run(folder).samples[0].cpu_s)


def test_a_second_run_does_not_go_into_the_same_folder(folder: Path) -> None:
    create_run(folder, meta()).close()
    with pytest.raises(StoreError, match="already contains a run"):
        create_run(folder, meta())


def test_two_writers_on_one_folder_are_refused(folder: Path) -> None:
    with create_run(folder, meta()):
        with pytest.raises(StoreError, match="another todobatch is writing"):
            open_run(folder)
        assert load_run(folder).samples == []  # reading goes on
    open_run(folder).close()


def test_a_torn_last_line_is_left_out_and_cut_off_by_the_next_writer(folder: Path) -> None:
    with create_run(folder, meta()) as opened:
        opened.append(sample(SEQ))
        opened.append(sample(THREADS))
    path = folder / SAMPLES
    path.write_bytes(path.read_bytes()[:-40])

    run = load_run(folder)
    assert run.torn
    assert run.samples == [sample(SEQ)]

    with open_run(folder) as opened:
        assert opened.was_torn
        opened.append(sample(THREADS, block=1))
    run = load_run(folder)
    assert not run.torn
    assert run.samples == [sample(SEQ), sample(THREADS, block=1)]


def test_a_last_line_of_zeros_left_by_a_power_cut_is_torn_too(folder: Path) -> None:
    with create_run(folder, meta()) as opened:
        opened.append(sample(SEQ))
    with (folder / SAMPLES).open("ab") as file:
        file.write(b"\0" * 100 + b"\n")
    assert load_run(folder).torn
    assert load_run(folder).samples == [sample(SEQ)]


def control(block: int) -> Control:
    return Control(SCHEMA, block, "start", 0.1, 0.1, "2026-01-05T10:00:00+00:00")


@pytest.fixture
def written(folder: Path) -> Path:
    """A run folder with two samples and two control loads."""
    with create_run(folder, meta()) as opened:
        for block, each in enumerate((sample(SEQ), sample(THREADS))):
            opened.append(each)
            opened.append_control(control(block))
    return folder


def test_a_last_line_that_only_lacks_its_newline_is_kept(written: Path) -> None:
    for name in (SAMPLES, CONTROLS):
        os.truncate(written / name, (written / name).stat().st_size - 1)
    run = load_run(written)
    assert not run.torn
    with open_run(written) as opened:
        assert not opened.was_torn
        assert opened.samples == run.samples == [sample(SEQ), sample(THREADS)]
        assert opened.controls == [control(0), control(1)]
        opened.append(sample(SEQ, block=1))
        opened.append_control(control(2))
    run = load_run(written)
    assert run.samples == [sample(SEQ), sample(THREADS), sample(SEQ, block=1)]
    assert run.controls == (control(0), control(1), control(2))
    for name in (SAMPLES, CONTROLS):
        assert (written / name).read_bytes().count(b"\n") == 3


def test_line_ends_of_windows_lose_nothing(written: Path) -> None:
    for name in (SAMPLES, CONTROLS):
        path = written / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with open_run(written) as opened:
        assert (len(opened.samples), len(opened.controls)) == (2, 2)


@pytest.mark.parametrize("name", [SAMPLES, CONTROLS])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(b"\n", b"\r"), "line 1: its records end with carriage returns"),
        (
            lambda text: text.replace(b"\n", b"\r")[:-30],
            "line 1: its records end with carriage returns",
        ),
        (lambda text: text.replace(b"\n", b" "), "line 1: it has more than one record"),
        (lambda text: text.replace(b"\n", b"\0"), "line 1: it has more than one record"),
        (lambda text: text.replace(b"\n", b"")[:-30], "line 1: it has more than one record"),
        (lambda text: text[:-30] + b"\n", "line 2: it is not a whole JSON record"),
        (lambda text: text + b"notes of my own", "line 3: it is not a whole JSON record"),
        (lambda text: text + b"{}", "line 3: it has no schema version"),
    ],
)
def test_a_last_line_that_no_kill_can_leave_is_refused_and_not_deleted(
    written: Path, name: str, change: Callable[[bytes], bytes], words: str
) -> None:
    path = written / name
    path.write_bytes(change(path.read_bytes()))
    before = path.read_bytes()
    for use in (load_run, open_run):
        with pytest.raises(StoreError) as refused:
            use(written)
        assert refused.value.place == str(path)
        assert words in refused.value.cause
        assert "todobatch has not changed it" in refused.value.remedy
    assert path.read_bytes() == before


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(folder: Path) -> None:
    with create_run(folder, meta()) as opened:
        opened.append(sample(SEQ))
        opened.append(sample(THREADS))
    path = folder / SAMPLES
    path.write_bytes(b"{half" + path.read_bytes())
    with pytest.raises(StoreError, match="line 1"):
        load_run(folder)


def test_a_newer_schema_is_refused_with_both_versions(folder: Path) -> None:
    create_run(folder, meta()).close()
    path = folder / META
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": SCHEMA + 1, "plan": 7}))
    for read in (load_run, open_run):
        with pytest.raises(NewerSchemaError, match=rf"schema {SCHEMA + 1}.*up to {SCHEMA}"):
            read(folder)


def test_a_sample_of_a_newer_schema_is_refused_too(folder: Path) -> None:
    with create_run(folder, meta()) as opened:
        opened.append(replace(sample(SEQ), schema=SCHEMA + 1))
    with pytest.raises(NewerSchemaError):
        load_run(folder)


def test_a_field_that_a_later_todobatch_added_is_passed_over(folder: Path) -> None:
    with create_run(folder, meta()) as opened:
        opened.append(sample(SEQ))
    for path in (folder / META, folder / SAMPLES):
        path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}) + "\n")
    assert load_run(folder).samples == [sample(SEQ)]


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"not a run folder.*run\.json"):
        load_run(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": "1"}', "\udcff"])
def test_a_run_json_that_is_none_is_damaged(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / META).write_text(text, errors="surrogateescape")
    with pytest.raises(StoreError, match="damaged"):
        load_run(folder)


def test_the_newest_run_is_the_one_begun_last(tmp_path: Path) -> None:
    for day in (3, 9, 5):
        begun = replace(meta(), started=f"2026-01-0{day}T10:00:00+00:00")
        create_run(tmp_path / f"run-{day}", begun).close()
    assert newest_run(tmp_path).name == "run-9"
    with pytest.raises(StoreError, match="contains no run"):
        newest_run(tmp_path / "run-3")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a nearly full disk; without root, limit the size of files instead."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() == 0 and shutil.which("mount"):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(disk)],
            check=False,
            capture_output=True,
        )
        if mounted.returncode == 0:
            yield disk
            subprocess.run(["umount", str(disk)], check=True)
            return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, hard))
    yield disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(opened: RunWriter) -> None:
    for block in range(100):
        opened.append(sample(SEQ, block=block))


def test_on_a_full_disk_saved_samples_stay_and_the_error_names_resume(full_disk: Path) -> None:
    folder = full_disk / "run"
    with create_run(folder, meta()) as opened:
        with pytest.raises(StoreError, match=r"samples are saved") as caught:
            fill(opened)
        saved = len(opened.samples)
    assert 0 < saved < 100
    assert f"{saved} samples are saved" in caught.value.cause
    assert f"`resume={folder}`" in caught.value.remedy
    run = load_run(folder)
    assert len(run.samples) == saved
    assert not run.torn  # cut back to the last whole line


def test_a_file_that_may_not_grow_is_like_a_full_disk(folder: Path) -> None:
    # In a process of its own: the limit holds for a whole process.
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from tests.tools.made_up import SEQ, meta, sample\n"
        "from todobatch.lab.store.writer import create_run\n"
        "from todobatch.errors import StoreError\n"
        "opened = create_run(Path(sys.argv[1]), meta())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_500, 2_500))\n"
        "try:\n"
        "    for block in range(100): opened.append(sample(SEQ, block=block))\n"
        "except StoreError as error: print(len(opened.samples), error.cause)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    saved = int(done.stdout.split()[0])
    assert saved > 0
    assert "File too large" in done.stdout
    assert len(load_run(folder).samples) == saved
    assert not load_run(folder).torn


def test_the_golden_run_of_schema_1_is_read() -> None:
    run = load_run(GOLDEN / "schema-1")
    assert run.meta.schema == 1
    assert [each.void is None for each in run.samples] == [True, True, False]
    first = run.samples[0]
    assert first.cell in run.meta.plan.cells
    assert first.digest == run.meta.plan.shapes[0].digest
    assert first.spans
    assert first.pyperf["value"] == first.wall_s
    assert run.meta.interpreters["3.14t"]["free_threaded_build"] is True


def test_the_golden_run_of_schema_2_is_read() -> None:
    run = load_run(GOLDEN / "schema-2")
    assert run.meta.schema == 2
    processes = next(each for each in run.samples if each.executor == "processes")
    assert processes.cpu_quota == [None, None]
    assert processes.voluntary_switches is not None
    for worker in processes.worker_totals:
        assert worker["start_method"] == "forkserver"
        assert worker["allowed_before"] == worker["allowed_after"] == [0, 1]
    assert all(len(span) == 8 for span in processes.spans)
    assert any(deserialise > 0 for *_, deserialise, _, _ in processes.spans)
    assert len(run.controls) == 2
    assert run.meta.doctor


def test_every_schema_has_a_golden_run() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {
        f"schema-{version}" for version in range(1, SCHEMA + 1)
    }


def test_ctrl_c_while_a_sample_is_written_keeps_that_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = os.write

    def write_and_interrupt(file: int, data: bytes) -> int:
        done = written(file, data)
        signal.raise_signal(signal.SIGINT)
        return done

    with create_run(tmp_path / "run", meta()) as opened:
        monkeypatch.setattr(os, "write", write_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            opened.append(sample(SEQ))
        monkeypatch.undo()
        assert len(opened.samples) == 1
    assert len(load_run(tmp_path / "run").samples) == 1
