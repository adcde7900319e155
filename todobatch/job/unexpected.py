"""What to say about an exception that no part of a job handles."""

from todobatch.errors import EXIT_BUG, EXIT_MEASUREMENT, TodobatchError
from todobatch.model import describe_exception, users_frame_of


def unexpected(error: BaseException) -> tuple[TodobatchError, int]:
    """Return the error that ends the job, and its exit code.

    A signal handler, a timer or a profiler of user code may raise in todobatch's own code. The
    exception then comes from a frame of the user's. Otherwise it is a bug.
    """
    what = describe_exception(error)
    frame = users_frame_of(error)
    if frame is not None:
        ours = TodobatchError(
            f"code of the workload raised an exception between two tasks: {what}",
            place=str(frame),
            remedy="end timers, signal handlers and profilers within the task that begins them",
        )
        return ours, EXIT_MEASUREMENT
    bug = TodobatchError(
        f"unexpected {what}",
        place="todobatch",
        remedy="this is a bug: please report it with the trace above",
    )
    return bug, EXIT_BUG
