"""Runs a command of the system, and kills it after a time limit."""

import subprocess
from collections.abc import Mapping, Sequence

from todobatch.ipc.child_process import end_group
from todobatch.units import Seconds


def run_bounded(
    command: Sequence[str],
    timeout_s: Seconds | None,
    *,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> tuple[int, str, str]:
    """Run a command and return its exit code, standard output and standard error.

    After `timeout_s` it is killed with all its children, and the code is 124; a command that cannot
    be started has 127. `env` is its whole environment, by default that of this process.
    """
    try:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A child of a script would keep our pipe open, so the whole group must be killed.
            start_new_session=True,
        )
    except OSError as error:
        return 127, "", error.strerror or str(error)
    with process:
        try:
            out, err = process.communicate(stdin, timeout_s)
        except subprocess.TimeoutExpired as error:
            end_group(process.pid)
            return 124, "", f"no answer within {error.timeout:g} s"
        except BaseException:
            end_group(process.pid)
            raise
    return process.returncode, out, err
