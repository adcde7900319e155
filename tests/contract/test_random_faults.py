"""Workers are killed and stopped at random moments: a run ends, and has every task once."""

import os
import random
import signal
import threading
from contextlib import suppress

import pytest

from todobatch import Hooks, Recovery, run_batches
from todobatch.model import Batch, ProcessingResult
from todobatch.sources import generate

COUNT = 6_000
HARMS = 12


@pytest.mark.parametrize("seed", range(4))
def test_every_task_is_done_or_set_aside_whatever_happens_to_the_workers(seed: int) -> None:
    lot = random.Random(seed)
    ended = threading.Event()
    workers: list[int] = []
    seen: list[int] = []

    def note(batch: Batch, result: ProcessingResult) -> None:
        seen.append(batch.index)
        if result.seen.pid and result.seen.pid not in workers[-2:]:
            workers.append(result.seen.pid)

    def harm() -> None:
        for _ in range(HARMS):
            if ended.wait(lot.expovariate(20)):
                return
            for pid in workers[-1:]:
                with suppress(ProcessLookupError):
                    os.kill(pid, lot.choice([signal.SIGKILL, signal.SIGSTOP]))

    thread = threading.Thread(target=harm)
    thread.start()
    try:
        report = run_batches(
            generate(COUNT, seed=seed), "process", executor="processes", workers=2, batch_size=5,
            recovery=Recovery(retries=3, backoff_s=0.01, deadline_s=1.0),
            hooks=Hooks(on_batch=note),
        )  # fmt: skip
    finally:
        ended.set()
        thread.join()
    assert sorted(seen) == list(range(COUNT // 5))
    assert (report.tasks, report.failed) == (COUNT, report.set_aside)
