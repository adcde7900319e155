"""Finds out whether this interpreter can load a workload, because the controller may lack it.

``python -m todobatch.child.workload CONTROL EVENTS``. It receives the name of a workload and sends
one event: `loaded`, or `refused` with cause and remedy.
"""

from todobatch.errors import UsageError
from todobatch.ipc.parent_process import ParentProcess
from todobatch.processors import resolve


def main() -> None:
    """Load one workload, and send what happened."""
    parent = ParentProcess.from_arguments()
    workload = parent.receive()
    if workload is None:  # the parent has ended
        return
    parent.end_with_parent()
    try:
        resolve(workload)
    except UsageError as error:
        parent.send("refused", cause=error.cause, remedy=error.remedy)
    else:
        parent.send("loaded")


if __name__ == "__main__":
    main()
