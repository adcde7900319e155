"""`todobatch drill` prints what its docs page says."""

import json
from typing import Any

import pytest

from tests.lab.drill.records import drilled, record_of, rowed
from todobatch.cli.shared.options import names
from todobatch.cli.views import drill as view
from todobatch.errors import UsageError
from todobatch.lab.drill import drill
from todobatch.lab.interpreters import Interpreter


def test_a_claim_that_fails_is_exit_code_3_and_stands_in_the_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from todobatch.cli.app import app

    broken = drilled(rowed(record_of(without=[3])))
    monkeypatch.setattr(drill, "drill", lambda *args, **options: broken)
    done = CliRunner().invoke(app, ["drill", "--json"])
    assert done.exit_code == 3
    assert json.loads(done.stdout)["failed"] == ["processes/killed"]
    done = CliRunner().invoke(app, ["drill"])
    assert done.exit_code == 3
    failed = "Failed: processes claims to isolate killed, but lost 1 of 60 tasks and duplicated 0"
    assert failed in " ".join(done.stdout.split())


def test_the_page_names_what_to_use_instead() -> None:
    lost = rowed(record_of(without=[3]), "hung", claims=False, executor="threads")
    page = list(view.lines(drilled(lost)))
    assert page[0].startswith("Not isolated by threads: hung. Use processes with a deadline")
    assert "The faults: hung: a task never ends, once." in page


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"executors": ["thraeds"]}, "`executors`"),
        ({"faults": ["flood"]}, "`faults`"),
        ({"tasks": 19}, "`tasks`"),
    ],
)
def test_unusable_arguments_are_refused_before_anything_starts(
    running: Interpreter, options: Any, place: str
) -> None:
    with pytest.raises(UsageError) as error:
        drill.drill(running, lambda name, how_far: None, **options)
    assert error.value.place == place


def test_an_empty_list_of_names_is_refused() -> None:
    with pytest.raises(UsageError, match="no name was given"):
        names(" , ", "--faults")
