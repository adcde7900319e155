"""Everything that users choose by name is in the docs and in the examples."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from todobatch.child.faults import FAULTS
from todobatch.executors import EXECUTORS
from todobatch.processors.catalogue import WORKLOADS
from todobatch.sources.registry import FORMATS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("names", "page"),
    [
        (EXECUTORS, "reference/executors.md"),
        (WORKLOADS, "reference/workloads.md"),
        (FORMATS, "reference/formats.md"),
        (FAULTS, "how-to/drill.md"),
    ],
    ids=["executors", "workloads", "formats", "faults"],
)
def test_every_name_stands_on_its_page(names: Iterable[str], page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_format_has_an_example_of_the_same_tasks() -> None:
    examples = [path.name for path in (ROOT / "examples").iterdir()]
    compared = (ROOT / "tests" / "sources" / "test_examples.py").read_text("utf-8")
    for fmt in FORMATS.values():
        fitting = [name for name in examples if name.endswith(fmt.endings)]
        assert any(f'"{name}"' in compared for name in fitting), f"{fmt.name}: {fitting}"
