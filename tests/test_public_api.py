"""The public names are pinned here, so that none is added or removed by accident."""

import inspect
from importlib import import_module

import pytest

PUBLIC = {
    "todobatch": (
        "Batch BatchReport Costs Hooks PerWorkerResultCollector ProcessingResult "
        "QueueResultCollector Recovery Task TaskBatchProcessor TaskFailure TaskProcessor "
        "TaskReporter TaskValidator ThreadSafeResultCollector TodobatchError __version__ batched "
        "run_batch_processing_system run_batches"
    ),
    "todobatch.coordinator.journal": "Journal saved_tasks",
    "todobatch.executors": (
        "EXECUTORS MAX_IN_FLIGHT MAX_WORKERS BatchRunner Capabilities Elastic Executor Placement "
        "Resize WorkerStats Wrapped get resizes_of stats_of"
    ),
    "todobatch.processors": (
        "WORKLOADS TaskBatchProcessor TaskProcessor TaskReporter TaskValidator WorkloadInfo resolve"
    ),
    "todobatch.sources": (
        "FORMATS REFERENCE_DAY FieldError Format OnBroken Source generate open_source "
        "parse_recurrence"
    ),
    "todobatch.testing": "FOR_EVER Scripted",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_has_exactly_its_pinned_names(module: str) -> None:
    assert import_module(module).__all__ == PUBLIC[module].split()


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_can_be_imported_and_is_documented(module: str) -> None:
    for name in PUBLIC[module].split():
        value = getattr(import_module(module), name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name


@pytest.mark.parametrize("name", ["Hooks", "Recovery", "batched", "run_batches"])
def test_a_name_is_found_where_it_was_before(name: str) -> None:
    assert getattr(import_module("todobatch.coordinator"), name) is getattr(
        import_module("todobatch"), name
    )
    with pytest.raises(ImportError):
        exec("from todobatch.coordinator import nothing")
