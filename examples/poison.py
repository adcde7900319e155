"""A workload with two poison tasks: ``--workload examples.poison:handle``.

One task kills its worker, as a crash in a C extension would. Another never ends.
"""

import os
import signal
import threading

from todobatch import Task


def handle(task: Task) -> str:
    """Return the title in capitals. "segfault" kills the worker; "it hangs" never returns."""
    if "segfault" in task.title:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hangs" in task.title:
        threading.Event().wait()
    return task.title.upper()
