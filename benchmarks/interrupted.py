"""Check that an interrupted run keeps its samples: ``python benchmarks/interrupted.py``

The script starts a small `todobatch bench` four times, breaks it in one of these ways, and resumes
it:

* killed: the command gets SIGKILL; the processes that it started must end by themselves;
* full disk: the run folder is on a file system that is too small, and is enlarged later. The file
  system is a tmpfs; without the right to mount one, a limit on the file size takes its place;
* torn line: the last line of samples.jsonl loses its second half, as in a power cut;
* two writers: a second ``--resume`` starts while the first is running.

For each way the table gives the samples before, how many of them exist afterwards, and the
final number of samples beside the planned one. The exit code is 1 when a sample is missing.
"""

import argparse
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from todobatch.errors import EXIT_STORE
from todobatch.lab.store.folder import META, SAMPLES, load_run

TODOBATCH = [sys.executable, "-m", "todobatch"]
TIMEOUT_S = 300.0
BLOCKS = 4
SMALL = (
    *("--workloads", "io-wait", "--executors", "threads", "--workers", "1,2", "--target", "0"),
    *("--seed", "7", "--blocks", str(BLOCKS)),
)
CELLS = 6  # sequential, threads with 1 and with 2 workers, on two interpreters
DISK, LARGER_DISK = "24k", "4m"
FILE_LIMIT = 9_000  # bytes


def main() -> int:
    """Break a run in each way and print what survived."""
    argparse.ArgumentParser(description=(__doc__ or "").split(":")[0]).parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        ways: tuple[tuple[str, Callable[[Path], tuple[str, list[int]]]], ...] = (
            ("killed", killed),
            ("full disk", full_disk),
            ("torn line", torn_line),
            ("two writers", two_writers),
        )
        for name, way in ways:
            print(f"{name} …", file=sys.stderr, flush=True)
            folder = Path(scratch) / name.replace(" ", "-")
            printed, (before, kept, after) = way(folder)
            rows.append((name, printed, before, kept, after))
    print("| what | message | samples before | of these kept | at the end | planned |")
    print("|---|---|---:|---:|---:|---:|")
    for name, printed, before, kept, after in rows:
        print(f"| {name} | {printed} | {before} | {kept} | {after} | {BLOCKS * CELLS} |")
    lost = any(kept < before or after < BLOCKS * CELLS for _, _, before, kept, after in rows)
    return 1 if lost else 0


def killed(folder: Path) -> tuple[str, list[int]]:
    """Kill the command with SIGKILL in the middle of a run."""
    process = start("bench", *SMALL, "-o", folder)
    wait_for(lambda: len(saved_samples(folder)) >= 5, process)
    process.kill()
    process.communicate()
    return "nothing: it was killed", resumed(folder)


def full_disk(folder: Path) -> tuple[str, list[int]]:
    """Fill the disk in the middle of a run, then free disk space."""
    with small_disk(folder) as make_room:
        process = start("bench", *SMALL, "-o", folder / "run")
        code, printed = finish(process)
        if code != EXIT_STORE:
            raise SystemExit(f"interrupted.py: the disk did not fill up: code {code}\n{printed}")
        make_room()
        message = next(line for line in printed.splitlines() if "cannot be written" in line)
        return f"exit {code}: {message.partition('.jsonl: ')[2]}", resumed(folder / "run")


def torn_line(folder: Path) -> tuple[str, list[int]]:
    """Truncate the last line to its first half."""
    process = start("bench", *SMALL, "-o", folder)
    wait_for(lambda: len(saved_samples(folder)) >= 5, process)
    process.kill()
    process.communicate()
    samples = folder / SAMPLES
    data = samples.read_bytes()
    last = data.rstrip(b"\n").rindex(b"\n") + 1
    samples.write_bytes(data[: last + (len(data) - last) // 2])
    return "the last line is incomplete and dropped", resumed(folder)


def two_writers(folder: Path) -> tuple[str, list[int]]:
    """Start a second writer, which must be refused while the first continues."""
    process = start("bench", *SMALL, "-o", folder)
    wait_for(lambda: len(saved_samples(folder)) >= 3, process)
    code, printed = finish(start("bench", "--resume", folder))
    before = saved_samples(folder)
    if finish(process)[0] != 0 or code != EXIT_STORE:
        raise SystemExit(f"interrupted.py: the second writer ended with {code}:\n{printed}")
    message = next(line for line in printed.splitlines() if "another todobatch" in line)
    after = saved_samples(folder)
    return f"exit {code}: {message.split(': ')[-1]}", [len(before), len(before & after), len(after)]


def resumed(folder: Path) -> list[int]:
    """Resume a run, and count the samples before, the survivors among them, and all at the end."""
    before = saved_samples(folder)
    code, printed = finish(start("bench", "--resume", folder))
    if code:
        raise SystemExit(f"interrupted.py: --resume ended with code {code}:\n{printed}")
    after = saved_samples(folder)
    return [len(before), len(before & after), len(after)]


def saved_samples(folder: Path) -> set[tuple[int, str, str]]:
    """Return number, cell and time of each sample in a run folder."""
    if not all((folder / name).exists() for name in (META, SAMPLES)):
        return set()
    return {(each.number, each.cell.key, each.started) for each in load_run(folder).samples}


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """Yield a folder with room for part of a run, and a function that makes room for all of it."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield lambda: _run("mount", "-o", f"remount,size={LARGER_DISK}", str(folder))
        finally:
            _run("umount", str(folder))
        return
    print("no tmpfs can be mounted here; a limit on file sizes is used instead", file=sys.stderr)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # children inherit this, so their write fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, before[1]))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def start(*arguments: object) -> "subprocess.Popen[str]":
    """Start todobatch in its own process group."""
    return subprocess.Popen(
        [*TODOBATCH, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for todobatch, and return its exit code and output."""
    try:
        printed, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, printed


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait until a condition is true while a process runs."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise SystemExit(f"interrupted.py: the run ended early:\n{process.communicate()[0]}")
        time.sleep(0.01)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
