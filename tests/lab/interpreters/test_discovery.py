"""Interpreters are found by running candidates, and the choice is always the same."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.interpreters import fake_cpython
from todobatch.errors import InterpreterMissingError, UsageError
from todobatch.lab.interpreters import (
    Interpreter,
    differences,
    discovery,
    find,
    proof,
    specs,
    survey,
)
from todobatch.runtime import RuntimeFacts, facts

BROKEN_SHIM = "#!/bin/sh\necho 'pyenv: python3.14: command not found' >&2\nexit 127\n"

Put = Callable[[str, str], Path]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Put an executable on a PATH without Python; the cache and uv's folder are empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("cat", "sed", "sleep"):  # what the scripts need
        (folder / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("TODOBATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))

    def write(name: str, text: str) -> Path:
        path = tmp_path / name if "/" in name else folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    return write


def answering(version: str = "3.99.1", **changes: object) -> str:
    """Return a script that answers as that interpreter would."""
    flags = {"free_threaded_build": False, "optimized_build": False}
    reported = {**flags, **changes, "version": version}
    return fake_cpython.python_script({**fake_cpython.FACTS, **reported})


def made(spec: str, **changes: object) -> Interpreter:
    reported: RuntimeFacts = {**facts(), "version": "3.14.7"}
    reported.update({"free_threaded_build": spec.endswith("t"), "optimized_build": False})
    reported.update({"lto_build": False, "debug_build": False})
    origin = changes.pop("origin", "cache")
    reported.update(changes)  # type: ignore[typeddict-item]
    path = Path(f"/{origin}/python{spec}")
    return Interpreter(spec, path, reported, origin)  # type: ignore[arg-type]


def test_a_shim_that_exists_but_does_not_run_is_not_an_interpreter(put: Put) -> None:
    shim = put("python3.99", BROKEN_SHIM)
    with pytest.raises(InterpreterMissingError, match=r"pyenv: .*command not found") as no:
        find("3.99")
    assert str(shim) in no.value.cause
    assert "name its path" in no.value.remedy


@pytest.mark.usefixtures("put")
def test_a_missing_one_that_can_be_installed_says_how() -> None:
    with pytest.raises(InterpreterMissingError) as no:
        find("3.15t")
    assert no.value.remedy == "todobatch interpreters install 3.15t"


def test_a_script_that_hangs_is_given_up_and_killed_with_its_children(
    put: Put, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "alive")
    script = put(
        "python3.99", f"#!/bin/sh\nexec 9>{tmp_path / 'alive'}\ncat\nsleep 1000\nsleep 1\n"
    )
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    with open(reader, "rb") as alive:
        with pytest.raises(proof.NotAnInterpreterError, match="no answer within"):
            proof.prove(script, timeout_s=0.5)
        os.set_blocking(reader, True)
        # The end of this file: nobody that held it open is left.
        assert alive.read() == b""


def test_an_executable_of_another_version_than_its_name_is_not_chosen(put: Put) -> None:
    put("python3.99", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    with pytest.raises(InterpreterMissingError, match=r"it is 3\.1\d"):
        find("3.99")


def test_a_program_that_is_not_python_is_recognised_by_its_output(put: Put) -> None:
    path = put("python3.99", "#!/bin/sh\necho hello\n")
    with pytest.raises(InterpreterMissingError, match="not Python: it printed 'hello'"):
        find(str(path))


def test_a_program_that_prints_its_arguments_is_not_quoted(put: Put) -> None:
    path = put("python3.99", '#!/bin/sh\necho "$0: no such file: $*" >&2\nexit 2\n')
    with pytest.raises(InterpreterMissingError) as no:
        find(str(path))
    assert no.value.cause == "it is not a Python interpreter"


def test_a_python_that_is_too_old_says_so(put: Put) -> None:
    path = put("old", '#!/bin/sh\necho \'{"too_old": "3.8.2"}\'\n')
    with pytest.raises(
        InterpreterMissingError, match=r"it is Python 3\.8\.2; todobatch needs 3\.11"
    ):
        find(str(path))


def test_cache_uv_and_path_are_looked_at_and_preferred_in_that_order(put: Put) -> None:
    name = "bin/python3.99"
    put("python3.99", answering())
    put(f"uv/cpython-3.99.1-linux/{name}", answering())
    put(f"cache/interpreters/cpython-3.99.1/{name}", answering())
    from_all = [one for one in discovery.look_for(["3.99"]).working if one.spec == "3.99"]
    assert [one.origin for one in from_all] == ["cache", "uv", "PATH"]
    assert find("3.99") == from_all[0]


def test_an_optimised_one_on_path_is_preferred_to_a_plain_one_of_ours(put: Put) -> None:
    put("cache/interpreters/cpython-3.99.1/bin/python3.99", answering())
    put("python3.99", answering(optimized_build=True))
    assert find("3.99").origin == "PATH"


def test_the_order_of_preference_is_the_documented_one() -> None:
    ordered = [
        made("3.14", optimized_build=True, lto_build=True, origin="PATH"),
        made("3.14", optimized_build=True),
        made("3.14", version="3.14.10"),
        made("3.14", version="3.14.9"),
        made("3.14", version="3.14.9rc1"),
        made("3.14", version="3.14.10", origin="uv"),
        made("3.14", version="3.14.10", origin="running"),
        made("3.14", version="3.14.10", origin="PATH"),
        made("3.14", version="3.14.10", debug_build=True, optimized_build=True),
    ]
    shuffled = ordered[::-1]
    assert sorted(shuffled, key=discovery.preference) == ordered


def test_a_pair_is_chosen_alike_even_where_one_has_a_better_build() -> None:
    working = [made("3.14", optimized_build=True), made("3.14"), made("3.14t")]
    chosen = discovery._alike(["3.14", "3.14t"], working)
    assert chosen == {"3.14": working[1], "3.14t": working[2]}
    assert differences(chosen["3.14"], chosen["3.14t"]) == []


def test_the_better_pair_is_chosen_where_there_are_two() -> None:
    plain = [made("3.14"), made("3.14t")]
    better = [made("3.14", optimized_build=True), made("3.14t", optimized_build=True)]
    chosen = discovery._alike(["3.14", "3.14t"], sorted(plain + better, key=discovery.preference))
    assert list(chosen.values()) == better


def test_differences_between_two_builds_are_named() -> None:
    apart = differences(made("3.14", optimized_build=True), made("3.14t", version="3.14.2"))
    assert apart == [
        "version: 3.14.7 (3.14), 3.14.2 (3.14t)",
        "profile-guided optimisation: yes (3.14), no (3.14t)",
    ]


def test_a_virtual_environment_is_found_by_path_and_stays_itself(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    got = find(str(python))
    assert (got.executable, got.origin, got.spec) == (python, "path", str(python))
    assert got.facts["version"] == facts()["version"]


def test_the_running_interpreter_is_among_those_found_and_its_other_names_are_not_listed_again(
    put: Put,
) -> None:
    running = facts()
    spec = specs.spec_of(running)
    put(f"python{spec}", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    same = [
        one for one in discovery.look_for([spec]).working if one.executable == Path(sys.executable)
    ]
    assert [(one.spec, one.origin) for one in same] == [(spec, "running")]


@pytest.mark.parametrize("spec", ["3.14tt", "python3.14", "4.0", "", "3.14.7"])
def test_what_is_neither_a_version_nor_a_path_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="neither a version"):
        find(spec)


@pytest.mark.parametrize(("spec", "reason"), [("3.10", "3.11 or newer"), ("3.12t", "since 3.13")])
def test_a_version_that_cannot_be_is_refused_with_the_reason(spec: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        find(spec)


@pytest.mark.parametrize("place", ["nothing/here", "."])
def test_a_path_without_a_program_is_an_error(place: str, tmp_path: Path) -> None:
    with pytest.raises(InterpreterMissingError, match=r"no such file|it is a folder"):
        find(str(tmp_path / place) + ("/" if place == "." else ""))


def test_the_survey_lists_broken_ones_with_the_reason(put: Put) -> None:
    shim = put("python3.14t", BROKEN_SHIM)
    broken = {one.executable: one.reason for one in survey().broken}
    assert "command not found" in broken[shim]


@pytest.mark.interpreters
def test_the_real_pair_is_found_and_says_what_it_is(each_python: Interpreter) -> None:
    threaded = each_python.spec.endswith("t")
    assert each_python.facts["free_threaded_build"] is threaded
    assert each_python.facts["gil_enabled"] is not threaded
    printed = subprocess.run(
        [each_python.executable, "-c", "import sys; print(sys._is_gil_enabled())"],
        check=True,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHON_GIL"},
    ).stdout.strip()
    assert printed == str(not threaded)
