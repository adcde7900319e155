"""A run folder holds regular files of a bounded size: anything else is refused, and not touched."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import RunTodobatch
from tests.tools.made_up import SEQ, THREADS, meta, sample, write_run
from todobatch.errors import StoreError
from todobatch.lab.store import pyperf_files
from todobatch.lab.store.folder import CONTROLS, LARGEST, META, SAMPLES, load_run
from todobatch.lab.store.schema import SCHEMA, Control
from todobatch.lab.store.writer import create_run, open_run

FILES = (META, SAMPLES, CONTROLS)


def control(block: int = 0) -> Control:
    return Control(SCHEMA, block, "start", 0.1, 0.1, "2026-01-05T10:00:00+00:00")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", meta(), [sample(SEQ), sample(THREADS)])
    with open_run(tmp_path / "run") as writer:
        writer.append_control(control())
    return tmp_path / "run"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim.txt"
    path.write_text("one line that must stay")
    return path


def as_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def as_link_to_nothing(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("nothing"))


def as_fifo(path: Path, victim: Path) -> None:
    del victim
    os.mkfifo(path)


def as_device(path: Path, victim: Path) -> None:
    del victim
    path.symlink_to("/dev/zero")


def as_folder(path: Path, victim: Path) -> None:
    del victim
    path.mkdir()


def as_large_file(path: Path, victim: Path) -> None:
    del victim
    path.touch()
    os.truncate(path, LARGEST[path.name] + 1)


KINDS = (as_link, as_link_to_nothing, as_fifo, as_device, as_folder, as_large_file)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_refused_at_once_and_nothing_is_written(
    folder: Path, victim: Path, name: str, kind: Callable[[Path, Path], None]
) -> None:
    (folder / name).unlink()
    kind(folder / name, victim)
    for use in (load_run, open_run):
        with pytest.raises(StoreError) as refused:
            use(folder)
        assert refused.value.place == str(folder / name)
        assert refused.value.remedy
    assert victim.read_text() == "one line that must stay"
    assert not victim.with_name("nothing").exists()


@pytest.mark.parametrize("name", [SAMPLES, CONTROLS])
def test_a_file_with_a_second_name_is_read_and_not_written(
    folder: Path, tmp_path: Path, name: str
) -> None:
    os.link(folder / name, tmp_path / "backup")
    before = (tmp_path / "backup").read_bytes()
    assert len(load_run(folder).samples) == 2
    with pytest.raises(StoreError, match="hard link"), open_run(folder) as writer:
        writer.append_control(control(1))
    assert (tmp_path / "backup").read_bytes() == before


def test_a_new_run_does_not_follow_a_link_either(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "new").mkdir()
    for name in FILES:
        (tmp_path / "new" / name).symlink_to(tmp_path / "nothing")
    with pytest.raises(StoreError, match="symbolic link"):
        create_run(tmp_path / "new", meta())
    assert not (tmp_path / "nothing").exists()
    assert victim.read_text() == "one line that must stay"


def test_run_json_is_replaced_and_not_written_through_a_trap(folder: Path, victim: Path) -> None:
    with open_run(folder) as writer:
        trap = folder / f".{META}.{os.getpid()}.part"
        trap.symlink_to(victim)
        (folder / META).unlink()
        (folder / META).symlink_to(victim)
        writer.update(ended="2026-01-05T10:00:00+00:00")
    assert victim.read_text() == "one line that must stay"
    assert not (folder / META).is_symlink()
    assert json.loads((folder / META).read_text())["ended"]
    assert not trap.is_symlink()


def test_pyperf_files_are_not_written_through_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "pyperf").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        pyperf_files.write(load_run(folder), folder)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_pyperf_file_that_is_a_link_is_replaced(folder: Path, victim: Path) -> None:
    (folder / "pyperf").mkdir()
    (folder / "pyperf" / "3.14.json").symlink_to(victim)
    [path] = pyperf_files.write(load_run(folder), folder)
    assert not path.is_symlink()
    assert victim.read_text() == "one line that must stay"


def test_a_folder_that_is_a_link_of_the_users_own_is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(folder)
    assert len(load_run(tmp_path / "latest").samples) == 2


def test_bench_resume_leaves_the_file_behind_a_link_alone(
    run_todobatch: RunTodobatch, folder: Path, victim: Path
) -> None:
    (folder / SAMPLES).unlink()
    (folder / SAMPLES).symlink_to(victim)
    done = run_todobatch("bench", "--resume", folder, timeout=25)
    assert done.returncode == 6, done.stderr
    assert "samples.jsonl: cannot be opened: it is a symbolic link" in done.stderr
    assert victim.read_text() == "one line that must stay"


@pytest.mark.parametrize("use", [load_run, open_run])
@pytest.mark.parametrize("name", FILES)
def test_a_file_named_in_place_of_its_folder_is_told_so(
    folder: Path, name: str, use: Callable[[Path], object]
) -> None:
    with pytest.raises(StoreError) as refused:
        use(folder / name)
    assert refused.value.place == str(folder / name)
    assert refused.value.cause == "this is a file in a run folder, not a run folder"
    assert refused.value.remedy == f"name its folder: {folder}"


def test_another_file_is_no_run_folder_either(victim: Path) -> None:
    with pytest.raises(StoreError, match="this is a file, not a run folder"):
        load_run(victim)


@pytest.mark.parametrize("use", [load_run, open_run])
def test_a_folder_in_the_place_of_a_file_is_to_be_moved(
    folder: Path, use: Callable[[Path], object]
) -> None:
    (folder / SAMPLES).unlink()
    (folder / SAMPLES).mkdir()
    with pytest.raises(StoreError, match="a folder is in its place") as refused:
        use(folder)
    assert refused.value.remedy == "remove or rename it"


def test_a_file_in_the_place_of_the_pyperf_folder_is_to_be_moved(folder: Path) -> None:
    (folder / "pyperf").write_text("mine")
    with pytest.raises(StoreError, match="a file is in the place of this folder") as refused:
        pyperf_files.write(load_run(folder), folder)
    assert refused.value.place == str(folder / "pyperf")
    assert refused.value.remedy.startswith("remove or rename it, then ")
    assert (folder / "pyperf").read_text() == "mine"


def test_an_unreadable_file_is_blamed_itself(folder: Path) -> None:
    (folder / CONTROLS).unlink()
    (folder / CONTROLS).mkdir()
    with pytest.raises(StoreError, match=r"controls\.jsonl: cannot be opened"):
        load_run(folder)
