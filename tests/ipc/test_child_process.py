"""Real child processes: each kind of end is noticed, and nothing is left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from todobatch.ipc.child_process import ChildProcess, last_lines
from todobatch.runtime import describe_end

ROOT = Path(__file__).resolve().parents[1]
SOON_S = 30.0
"""Longer than anything takes here, so that only a hang is an error."""
FOR_EVER_S = 3_600.0
"""Longer than a test may take."""

PRELUDE = """
import os, signal, subprocess, sys, time
from todobatch.ipc.parent_process import ParentProcess

parent = {parent}
"""


class ForkingProcess:
    """A `Forker` whose children run `body` and nothing else."""

    def __init__(self, body: str) -> None:
        self._body = body

    def fork(self, descriptors: Sequence[int]) -> int:
        command = PRELUDE.format(parent=f"ParentProcess.after_fork({list(descriptors)})")
        # An exec after the fork: pytest's own state does not belong into the child.
        process = subprocess.Popen(
            [sys.executable, "-c", command + self._body],
            cwd=ROOT,
            pass_fds=descriptors,
            start_new_session=True,
        )
        self._process = process
        return process.pid

    def wait(self, pid: int, timeout_s: float) -> int | None:
        assert pid == self._process.pid
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None


def started(body: str, **options: Any) -> ChildProcess:
    command = PRELUDE.format(parent="ParentProcess.from_arguments()") + body
    return ChildProcess.start([sys.executable, "-c", command], os.environ, folder=ROOT, **options)


def forked(body: str) -> ChildProcess:
    return ChildProcess.forked(ForkingProcess(body))


@pytest.fixture(params=[started, forked], ids=["started", "forked"])
def child_of(request: pytest.FixtureRequest) -> Callable[[str], ChildProcess]:
    made: Callable[[str], ChildProcess] = request.param
    return made


ECHO = """
while (message := parent.receive()) is not None:
    parent.send("echo", message=message)
"""


def test_a_child_receives_messages_and_sends_events(
    child_of: Callable[[str], ChildProcess],
) -> None:
    with child_of(ECHO) as child:
        for message in ({"text": "é" * 50_000}, 2, None, [1, 2]):
            child.send({"wrapped": message})
            event = child.next_event(SOON_S)
            assert event == {"event": "echo", "message": {"wrapped": message}}
        child.close(SOON_S)
        assert child.returncode == 0
        assert child.how_it_ended() == "ended with exit code 0"


def test_no_event_in_time_is_a_timeout_and_not_the_end(
    child_of: Callable[[str], ChildProcess],
) -> None:
    with child_of(ECHO) as child:
        child.send("warm")
        assert child.next_event(SOON_S) is not None
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            child.next_event(0.3)
        assert 0.3 <= time.monotonic() - begun < SOON_S
        child.send("still there")
        assert child.next_event(SOON_S) == {"event": "echo", "message": "still there"}


def test_a_killed_child_says_so_and_its_half_a_line_is_dropped(
    child_of: Callable[[str], ChildProcess],
) -> None:
    body = """
parent.send("whole")
os.write(parent.events, b'{"event": "ha')
os.kill(os.getpid(), signal.SIGKILL)
"""
    with child_of(body) as child:
        assert child.next_event(SOON_S) == {"event": "whole"}
        assert child.next_event(SOON_S) is None
        assert child.wait(SOON_S) == -signal.SIGKILL
    assert child.how_it_ended() == "was killed (SIGKILL)"


@pytest.mark.parametrize(
    "line", [b"hello", b"12", b"[]", b"{}", b'{"event": 1}', b"\xff", b"", b"[" * 99_999]
)
def test_a_child_that_sends_what_is_not_an_event_counts_as_ended(line: bytes) -> None:
    body = f"""
parent.send("whole")
os.write(parent.events, {line[:1]!r} * {len(line)} if {line[:1] == b"["} else {line!r})
os.write(parent.events, b"\\n")
parent.send("never read")
signal.pause()
"""
    with started(body) as child:
        assert child.next_event(SOON_S) == {"event": "whole"}
        assert child.next_event(SOON_S) is None
        assert child.next_event(SOON_S) is None
        assert child.available_events() == []
        assert child.returncode == -signal.SIGKILL
        assert child.sent_foreign
    assert re.fullmatch(r"sent '.*', which is not an event, and was killed", child.how_it_ended())


def test_available_events_end_where_a_line_is_not_an_event() -> None:
    body = """
os.write(parent.events, b'{"event": "whole"}\\nhello\\n{"event": "never read"}\\n')
sys.exit()
"""
    with started(body) as child:
        child.wait(SOON_S)
        assert child.available_events() == [{"event": "whole"}]
        assert child.available_events() == []
        assert child.next_event(SOON_S) is None
    assert child.how_it_ended() == "sent 'hello', which is not an event, and was killed"


def test_what_it_printed_last_is_kept(child_of: Callable[[str], ChildProcess]) -> None:
    body = """
sys.stderr.write("x" * 300_000)
parent.send("printed")
sys.exit("the reactor is hot")
"""
    with child_of(body) as child:
        assert child.next_event(SOON_S) == {"event": "printed"}, "a full pipe must not stop it"
        assert child.next_event(SOON_S) is None
        assert child.wait(SOON_S) == 1
    assert child.printed.endswith(b"xthe reactor is hot\n")
    assert len(child.printed) <= 65_536
    assert child.how_it_ended() == "ended with exit code 1"


def test_a_child_that_closes_its_events_but_lives_is_seen_and_ended(
    child_of: Callable[[str], ChildProcess],
) -> None:
    body = """
parent.send("last")
os.close(parent.events)
signal.pause()
"""
    with child_of(body) as child:
        assert child.next_event(SOON_S) == {"event": "last"}
        assert child.next_event(SOON_S) is None
        assert child.poll() is None
        assert child.end() is True
        assert child.end() is False
    assert child.how_it_ended() == "did not end"
    assert child.returncode == -signal.SIGKILL


# The grandchild has both pipes and prints its process id; it must not keep anybody waiting.
GRANDCHILD = """
code = "import signal; signal.pause()"
os.set_inheritable(parent.events, True)
grandchild = subprocess.Popen([sys.executable, "-c", code], pass_fds=[parent.events])
parent.send("grandchild", pid=grandchild.pid)
"""


def test_the_end_is_seen_although_a_grandchild_holds_the_pipes_and_it_ends_too(
    child_of: Callable[[str], ChildProcess],
) -> None:
    with child_of(GRANDCHILD + "os._exit(5)") as child:
        event = child.next_event(SOON_S)
        assert event is not None
        assert child.next_event(SOON_S) is None
        assert child.poll() == 5
        assert is_running(event["pid"])
    wait_until(lambda: not is_running(event["pid"]))


def test_the_end_is_seen_at_once_and_not_at_the_next_look(
    child_of: Callable[[str], ChildProcess],
) -> None:
    """The grandchild holds the pipes, so only the process itself can show its end."""
    with child_of(GRANDCHILD + "parent.receive(); os._exit(5)") as child:
        assert child.next_event(SOON_S) is not None
        child.send("end")
        assert child._channels.read(FOR_EVER_S) is False
        assert child.poll() == 5


def test_the_end_is_seen_where_there_is_no_pidfd_too(
    child_of: Callable[[str], ChildProcess],
) -> None:
    with child_of(GRANDCHILD + "parent.receive(); os._exit(5)") as child:
        channels = child._channels
        channels._selector.unregister(channels._pidfd)
        os.close(channels._pidfd)
        assert child.next_event(SOON_S) is not None
        child.send("end")
        assert child.next_event(SOON_S) is None
        assert child.poll() == 5


@pytest.mark.parametrize("below", ["", "os.close(parent.control); "])
@pytest.mark.parametrize("how", ["closes", "killed"])
def test_a_child_ends_with_its_parent_however_that_ended(how: str, below: str) -> None:
    """When the process in the middle of three dies, its child ends too.

    The child's code may have closed the channel on which it waits for that.
    """
    middle = f"""
from todobatch.ipc.child_process import ChildProcess
child = ChildProcess.start(
    [sys.executable, "-c", {PRELUDE.format(parent="ParentProcess.from_arguments()")!r}
     + "{below}parent.end_with_parent(); parent.send('pid', pid=os.getpid()); signal.pause()"],
    os.environ,
)
parent.send("below", pid=child.next_event(30)["pid"])
parent.receive()
"""
    with started(middle) as child:
        event = child.next_event(SOON_S)
        assert event is not None
        assert is_running(event["pid"])
        if how == "closes":
            child.close(SOON_S)
        else:
            child.send_signal(signal.SIGKILL)
            child.wait(SOON_S)
        wait_until(lambda: not is_running(event["pid"]))


def test_ctrl_c_reaches_the_parent_only() -> None:
    """A terminal sends SIGINT to the foreground group: the child is in another one."""
    parent = f"""
from todobatch.ipc.child_process import ChildProcess
child = ChildProcess.start(
    [sys.executable, "-c", {PRELUDE.format(parent="ParentProcess.from_arguments()")!r}
     + "parent.send('ready'); parent.receive(); parent.send('unhurt')"],
    os.environ,
)
try:
    child.next_event(30)
    os.killpg(0, signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    child.send("go")
    parent.send("child", says=child.next_event(30))
"""
    with started(parent) as process:
        assert process.next_event(SOON_S) == {"event": "child", "says": {"event": "unhurt"}}


def test_an_interrupt_sent_at_once_waits_for_the_childs_handler() -> None:
    body = """
caught = []
signal.signal(signal.SIGINT, lambda *_: caught.append(1))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
while not caught:
    signal.pause() if not caught else None
parent.send("caught")
"""
    with started(body, hold_interrupt=True) as child:
        child.send_signal(signal.SIGINT)
        assert child.next_event(SOON_S) == {"event": "caught"}


def test_seconds_for_which_this_process_is_stopped_do_not_count() -> None:
    """The child answers after the stop; a clock that ran on would have raised TimeoutError."""
    waiting = f"""
from todobatch.ipc.child_process import ChildProcess
child = ChildProcess.start(
    [sys.executable, "-c", {PRELUDE.format(parent="ParentProcess.from_arguments()")!r}
     + "parent.receive(); parent.send('answer')"],
    os.environ,
)
parent.send("waits")
try:
    child.next_event(2)
except TimeoutError:
    parent.send("timeout", at=time.monotonic())
"""
    with started(waiting) as process:
        assert process.next_event(SOON_S) == {"event": "waits"}
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        continued = time.monotonic()
        process.send_signal(signal.SIGCONT)
        event = process.next_event(SOON_S)
    assert event is not None
    assert event["at"] - continued > 0.5, "it was given up for the time of the stop"


def test_a_process_without_channels_gets_no_arguments_of_ours() -> None:
    code = "import sys; sys.exit(f'{sys.argv[1:]} {sys.stdin.read()!r}')"
    command = [sys.executable, "-c", code, "only"]
    with ChildProcess.start(command, os.environ, channels=False) as child:
        assert child.wait(SOON_S) == 1
    assert child.printed == b"['only'] ''\n"
    assert child.available_events() == []


@pytest.mark.thread_unsafe(reason="it counts the process's descriptors")
def test_no_descriptor_is_left_open_whatever_happens(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(OSError, match="no-such-command"):
        ChildProcess.start([tmp_path / "no-such-command"], os.environ)
    with started("pass") as child:
        child.wait(SOON_S)
        child.send("too late: it is gone")
    with refusing_forker() as forker, pytest.raises(ChildProcessError):
        ChildProcess.forked(forker)
    assert descriptors() == before


def test_neither_channel_is_inherited_by_what_the_child_starts() -> None:
    body = """
code = "import os, sys; print(*os.listdir('/proc/self/fd'), file=sys.stderr)"
subprocess.run([sys.executable, "-c", code], close_fds=False, check=True)
parent.send("mine", numbers=[parent.control, parent.events])
"""
    if not Path("/proc/self/fd").exists():
        pytest.fail("this test needs /proc")
    with started(body) as child:
        event = child.next_event(SOON_S)
        child.wait(SOON_S)
    assert event is not None
    theirs = {int(number) for number in child.printed.split()}
    assert not theirs & set(event["numbers"])


def test_an_exit_code_is_a_sentence() -> None:
    assert describe_end(-signal.SIGSEGV) == "was killed (SIGSEGV)"
    assert describe_end(3) == "ended with exit code 3"


def test_printed_lines_leave_out_the_frames_of_a_traceback() -> None:
    text = b"loading\n\nTraceback (most recent call last):\n  File x\nValueError: no \xff\n"
    assert last_lines(text) == "loading / ValueError: no \ufffd"


@contextmanager
def refusing_forker() -> Iterator[ForkingProcess]:
    forker = ForkingProcess("")

    def refuse(descriptors: Sequence[int]) -> int:
        raise ChildProcessError(f"no child for {descriptors}")

    forker.fork = refuse  # type: ignore[method-assign]
    yield forker


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
