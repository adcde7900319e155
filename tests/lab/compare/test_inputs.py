"""pyperf files are compared like runs; other files are refused, with their place."""

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunTodobatch
from tests.lab.compare.test_compare import QUICK, invoke, significant
from todobatch.cli.views.compare import as_text
from todobatch.errors import StoreError, UsageError
from todobatch.lab.compare.compare import compare
from todobatch.lab.compare.inputs import LARGEST, read_measurements


def suite(values: Mapping[str, list[list[float]]], **metadata: Any) -> dict[str, Any]:
    """Return a suite as pyperf writes it, with a calibration run first in each benchmark."""
    return {
        "version": "1.0",
        "metadata": {"cpu_model_name": "Made-up CPU", "unit": "second", **metadata},
        "benchmarks": [
            {
                "metadata": {"name": name},
                "runs": [{"warmups": [[1, 0.5]]}, *({"values": each} for each in processes)],
            }
            for name, processes in values.items()
        ],
    }


def file_of(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


STEADY = {"sort": [[1.0, 1.01], [1.02, 1.0], [0.99, 1.0], [1.0, 1.0]], "sum": [[2.0], [2.1], [1.9]]}


def test_a_pyperf_file_of_a_run_against_itself_shows_nothing(run_todobatch: RunTodobatch) -> None:
    path = QUICK / "pyperf" / "3.14.json"
    done = run_todobatch("compare", path, path, "--fail-on-slower", "3%", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["significant"] for row in rows} == {False}
    assert "example8/sequential/1" in {row["name"] for row in rows}
    assert {row["executor"] for row in rows} == {None}


def test_pyperf_files_of_two_interpreters_are_refused() -> None:
    refused = invoke(QUICK / "pyperf" / "3.14.json", QUICK / "pyperf" / "3.14t.json").exception
    assert isinstance(refused, UsageError)
    assert "todobatch_gil: on in A, off in B" in str(refused)


def test_pyperf_files_compare_by_process(tmp_path: Path) -> None:
    slow = {**STEADY, "sort": [[1.1 * value for value in each] for each in STEADY["sort"]]}
    a = file_of(tmp_path / "a.json", suite(STEADY))
    b = file_of(tmp_path / "b.json", suite(slow))
    outcome = compare(read_measurements(a), read_measurements(b))
    assert significant(outcome) == {"sort"}
    assert (outcome.rows[0].samples, outcome.rows[0].method) == ((4, 4), "welch")
    assert significant(compare(read_measurements(a), read_measurements(a))) == set()


def test_many_values_of_one_process_are_one_sample(tmp_path: Path) -> None:
    a = file_of(tmp_path / "a.json", suite({"sort": [[1.0, 1.01, 1.02]]}))
    b = file_of(tmp_path / "b.json", suite({"sort": [[2.0, 2.01, 2.02]]}))
    assert compare(read_measurements(a), read_measurements(b)).rows[0].verdict == "inconclusive"


def test_pyperf_files_of_two_machines_or_pythons_are_refused(tmp_path: Path) -> None:
    a = file_of(tmp_path / "a.json", suite(STEADY, python_version="3.14.1", cpu_count=2))
    b = file_of(tmp_path / "b.json", suite(STEADY, python_version="3.14.2", cpu_count=8))
    with pytest.raises(UsageError, match=r"cpu_count: 2 in A, 8 in B; python_version: 3.14.1 in A"):
        compare(read_measurements(a), read_measurements(b))
    assert len(compare(read_measurements(a), read_measurements(b), force=True).differences) == 2


def test_a_compressed_pyperf_file_is_read_and_what_is_no_time_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(suite(STEADY)).encode()))
    memory = suite(STEADY)
    memory["benchmarks"][1]["metadata"]["unit"] = "byte"
    outcome = compare(
        read_measurements(path), read_measurements(file_of(tmp_path / "b.json", memory))
    )
    assert [row.name for row in outcome.rows] == ["sort"]
    assert "B: not compared, because they are not times: sum" in as_text(outcome)


def test_a_folder_is_not_compared_with_a_file() -> None:
    refused = invoke(QUICK, QUICK / "pyperf" / "3.14.json").exception
    assert isinstance(refused, UsageError)
    assert "A is a run folder and B is a pyperf file" in str(refused)
    assert "RUN/pyperf/3.14.json" in str(refused)


NAMED = '{"version": "1.0", "benchmarks": [{"runs": [{"metadata": {"name": "x"}, "values": %s}]}]}'


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b"\x1f\x8bnonsense",
        b"[]",
        b"{}",
        b'{"version": "0.8", "benchmarks": []}',
        b'{"version": "1.0", "benchmarks": [{"runs": []}]}',
        b'{"version": "1.0", "benchmarks": [{"runs": [{"values": [1.0]}]}]}',
        *((NAMED % values).encode() for values in ("[0]", "[-1]", "[NaN]", '["1"]', "1")),
    ],
)
def test_what_is_no_pyperf_file_is_refused_with_its_place(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "it.json"
    path.write_bytes(content)
    with pytest.raises(StoreError) as refused:
        read_measurements(path)
    assert refused.value.place == str(path)
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (NAMED % "[0]", "benchmarks[0].runs[0].values[0]: 0 is not a number of seconds from 1e-15"),
        (NAMED % "[1, 1.7e308]", "benchmarks[0].runs[0].values[1]: 1.7e+308 is too large"),
        (NAMED % "[1e999]", "benchmarks[0].runs[0].values[0]: the number is too large"),
        (NAMED % "[null]", "benchmarks[0].runs[0].values[0]: null is not a number"),
        (NAMED % "[true]", "benchmarks[0].runs[0].values[0]: true is not a number"),
        (NAMED % ('[1], "x": ' + "9" * 5_000), "it has a number of more than 4,300 digits"),
        (NAMED % '[1], "values": [2]', "the key 'values' occurs twice in one object"),
        (
            (NAMED % "[1]").replace('"x"', '"x", "duration": "1"'),
            'benchmarks[0].runs[0].metadata.duration: "1" is not a number of seconds',
        ),
        (
            '{"version": "1.0", "benchmarks": [{"runs": [{"values": [1.0]}]}]}',
            "benchmarks[0]: its metadata has no name",
        ),
    ],
)
def test_what_is_wrong_in_a_pyperf_file_is_said_in_plain_words(
    tmp_path: Path, content: str, cause: str
) -> None:
    path = tmp_path / "it.json"
    path.write_text(content)
    with pytest.raises(StoreError) as refused:
        read_measurements(path)
    assert refused.value.cause.startswith(f"not a pyperf file, or a damaged one: {cause}")


def test_a_pyperf_file_without_times_is_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.json", suite(STEADY, unit="byte"))
    with pytest.raises(StoreError, match="only times can be compared: sort") as refused:
        read_measurements(path)
    assert "sort (unit byte), sum (unit byte)" in refused.value.cause


def test_a_file_of_a_run_folder_is_told_from_a_pyperf_file() -> None:
    with pytest.raises(StoreError, match="this is a file in a run folder") as refused:
        read_measurements(QUICK / "run.json")
    assert refused.value.remedy == f"name its folder: {QUICK}"


def test_a_run_that_is_missing_or_no_run_ends_with_6(
    tmp_path: Path, run_todobatch: RunTodobatch
) -> None:
    missing = run_todobatch("compare", QUICK, tmp_path / "nothing")
    assert missing.returncode == 6
    assert "there is no such file or folder" in missing.stderr
    empty = run_todobatch("compare", tmp_path, QUICK)
    assert empty.returncode == 6
    assert "this is not a run folder" in empty.stderr


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.json", suite({"sort\x1b[2J\n": [[1.0], [1.01]]}))
    text = as_text(compare(read_measurements(path), read_measurements(path)), unfold=True)
    assert "\x1b" not in text
    assert r"sort\x1b[2J\n" in text


def test_what_is_large_or_no_file_is_refused_at_once(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.json.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        for _ in range(LARGEST // 1_000_000 + 1):
            file.write(b" " * 1_000_000)
    large, fifo, zero = tmp_path / "large.json", tmp_path / "fifo.json", tmp_path / "zero.json"
    large.touch()
    os.truncate(large, LARGEST + 1)
    os.mkfifo(fifo)
    zero.symlink_to("/dev/zero")
    for path, why in (
        (bomb, r"more than 64\.0 MB once it is decompressed"),
        (large, "larger than 64,000,000 bytes"),
        (fifo, "not a regular file"),
        (zero, "not a regular file"),
    ):
        with pytest.raises(StoreError, match=why):
            read_measurements(path)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000 + b"]" * 200_000,
        b'{"version": "1.0", "benchmarks": [], "metadata": 5}',
        b'{"version": 1.0, "benchmarks": []}',
        (NAMED % "[1e999]").encode(),
        (NAMED % "[1e12]").encode(),
        (NAMED % "[true]").encode(),
        (NAMED % ('[1.0], "x": ' + "9" * 5_000)).encode(),
    ],
)
def test_values_without_sense_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "it.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a pyperf file"):
        read_measurements(path)
