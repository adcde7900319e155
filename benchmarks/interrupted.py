"""What breaks a run, and what is left of it: ``python benchmarks/interrupted.py``

A small run of `todobatch bench` is broken in each of these ways, then taken up again:

* killed: SIGKILL to the command; what it started has to end by itself;
* full disk: its folder stands on a file system too small for it (a tmpfs, mounted for this; without
  the right to mount one, a limit on the size of files), which is made larger afterwards;
* torn line: the last line of samples.jsonl is cut off in the middle, as a power cut leaves it;
* two writers: a second ``--resume`` while the first is running.

Printed for each: samples before, those of them that are still there afterwards, and samples in the
end of how many planned. Exit code 1 when one is missing.
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
    """Break a run in each way and print what is left of it."""
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
            said, (before, kept, after) = way(folder)
            rows.append((name, said, before, kept, after))
    print("| what | what it said | samples before | of them kept | in the end | planned |")
    print("|---|---|---:|---:|---:|---:|")
    for name, said, before, kept, after in rows:
        print(f"| {name} | {said} | {before} | {kept} | {after} | {BLOCKS * CELLS} |")
    lost = any(kept < before or after < BLOCKS * CELLS for _, _, before, kept, after in rows)
    return 1 if lost else 0


def killed(folder: Path) -> tuple[str, list[int]]:
    """SIGKILL in the middle."""
    process = start("bench", *SMALL, "-o", folder)
    wait_for(lambda: len(taken(folder)) >= 5, process)
    process.kill()
    process.communicate()
    return "nothing: it was killed", resumed(folder)


def full_disk(folder: Path) -> tuple[str, list[int]]:
    """No room for all samples; then there is."""
    with small_disk(folder) as make_room:
        process = start("bench", *SMALL, "-o", folder / "run")
        code, said = finish(process)
        if code != EXIT_STORE:
            raise SystemExit(f"interrupted.py: the disk was not full enough: code {code}\n{said}")
        make_room()
        told = next(line for line in said.splitlines() if "cannot be written" in line)
        return f"exit {code}: {told.partition('.jsonl: ')[2]}", resumed(folder / "run")


def torn_line(folder: Path) -> tuple[str, list[int]]:
    """The last line loses its second half."""
    process = start("bench", *SMALL, "-o", folder)
    wait_for(lambda: len(taken(folder)) >= 5, process)
    process.kill()
    process.communicate()
    samples = folder / SAMPLES
    data = samples.read_bytes()
    last = data.rstrip(b"\n").rindex(b"\n") + 1
    samples.write_bytes(data[: last + (len(data) - last) // 2])
    return "the last line was cut off: it is dropped", resumed(folder)


def two_writers(folder: Path) -> tuple[str, list[int]]:
    """The second is refused, and the first goes on."""
    process = start("bench", *SMALL, "-o", folder)
    wait_for(lambda: len(taken(folder)) >= 3, process)
    code, said = finish(start("bench", "--resume", folder))
    before = taken(folder)
    if finish(process)[0] != 0 or code != EXIT_STORE:
        raise SystemExit(f"interrupted.py: the second ended with {code}:\n{said}")
    told = next(line for line in said.splitlines() if "another todobatch" in line)
    after = taken(folder)
    return f"exit {code}: {told.split(': ')[-1]}", [len(before), len(before & after), len(after)]


def resumed(folder: Path) -> list[int]:
    """Samples before, how many of these are there afterwards, and all afterwards."""
    before = taken(folder)
    code, said = finish(start("bench", "--resume", folder))
    if code:
        raise SystemExit(f"interrupted.py: --resume ended with code {code}:\n{said}")
    after = taken(folder)
    return [len(before), len(before & after), len(after)]


def taken(folder: Path) -> set[tuple[int, str, str]]:
    """The whole samples in a run folder, each by its number, cell and time."""
    if not all((folder / name).exists() for name in (META, SAMPLES)):
        return set()
    return {(each.number, each.cell.key, each.started) for each in load_run(folder).samples}


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """A folder with room for a part of a run; gives what makes room for all of it."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield lambda: _run("mount", "-o", f"remount,size={LARGER_DISK}", str(folder))
        finally:
            _run("umount", str(folder))
        return
    print("no tmpfs can be mounted here: a limit on files instead", file=sys.stderr)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # inherited: a write fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, before[1]))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def start(*arguments: object) -> "subprocess.Popen[str]":
    """The command, in a process group of its own."""
    return subprocess.Popen(
        [*TODOBATCH, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its exit code and all that it printed."""
    try:
        said, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, said


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait until something has happened while a process runs."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise SystemExit(f"interrupted.py: it ended too early:\n{process.communicate()[0]}")
        time.sleep(0.01)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
