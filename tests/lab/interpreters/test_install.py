"""An interpreter is installed by uv or a build, under a lock; an interruption leaves nothing."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.interpreters import fake_cpython
from tests.lab.interpreters.conftest import Kept
from todobatch.errors import BuildError, StoreError, UsageError
from todobatch.lab.interpreters import build, cache, install
from todobatch.lab.interpreters.discovery import uv_executable

pytestmark = pytest.mark.usefixtures("own_cache", "no_toolchain")

ROOT = Path(__file__).resolve().parents[3]

# A real todobatch in a process of its own, as two users of one cache would start it.
INSTALL = """
import sys
from pathlib import Path
from todobatch.lab.interpreters import install, toolchain
from todobatch.lab.interpreters.fetch import Source
from todobatch.lab.interpreters.specs import Pin


class Printed:
    def message(self, text):
        print(text, file=sys.stderr, flush=True)

    def step(self, *args, **more):
        pass


toolchain.ensure = lambda progress: None  # the fake needs make and no compiler
archive, version, sha256 = sys.argv[1:]
print(install(
    "3.14t", prebuilt=False, progress=Printed(), pin=Pin(version, sha256),
    sources=[Source("here", lambda pin: [Path(archive).as_uri()])],
).executable)
"""


@pytest.fixture
def fifos(tmp_path: Path) -> dict[str, str]:
    """The two sequence points of the fake's `make install`."""
    os.mkfifo(tmp_path / "hold")
    os.mkfifo(tmp_path / "go")
    return {"FAKE_HOLD": str(tmp_path / "hold"), "FAKE_GO": str(tmp_path / "go")}


def start(fake: fake_cpython.Fake, env: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", INSTALL, str(fake.archive), fake.pin.version, fake.pin.sha256],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def here(fake: fake_cpython.Fake, *, optimized: bool = False) -> build.Target:
    return build.Target("3.14t", fake.pin, optimized)


def test_what_is_built_is_whole_trimmed_and_runs_from_the_cache(
    fake: fake_cpython.Fake, own_cache: Path
) -> None:
    got = install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source])
    target = here(fake)
    assert got.executable == target.folder / "bin" / "python3.14t"
    assert (got.origin, got.facts["free_threaded_build"]) == ("cache", True)
    assert target.folder.is_relative_to(own_cache)
    assert (target.folder / build.MANIFEST).is_file()
    assert list(target.folder.glob("lib/python3.14t/test")) == []
    # The GIL build's name must not lead to a free-threaded one.
    assert not (target.folder / "bin" / "python3.14").exists()
    assert list((own_cache / "staging").iterdir()) == []


def test_an_optimised_and_a_plain_build_live_side_by_side(fake: fake_cpython.Fake) -> None:
    plain, optimised = (
        install("3.14t", optimized=wanted, prebuilt=False, pin=fake.pin, sources=[fake.source])
        for wanted in (False, True)
    )
    assert plain.executable.is_file()
    assert optimised.executable.is_file()
    assert (plain.facts["optimized_build"], optimised.facts["optimized_build"]) == (False, True)
    assert "--with-lto" in here(fake, optimized=True).flags


def test_a_second_install_builds_nothing(
    fake: fake_cpython.Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_JOURNAL", str(tmp_path / "journal"))
    for _ in range(2):
        install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source])
    assert (tmp_path / "journal").read_text().splitlines() == ["made"]


def test_an_installed_one_that_stopped_working_is_built_again(fake: fake_cpython.Fake) -> None:
    first = install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source])
    first.executable.write_text("#!/bin/sh\necho 'libc.so.7: no such file' >&2\nexit 127\n")
    kept = Kept()
    install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source], progress=kept)
    assert any("cannot be used any more" in text and "libc.so.7" in text for text in kept.messages)
    assert build.check(here(fake), first.executable) is None


def test_uv_is_tried_first_and_its_failure_is_reported_before_the_source_is_built(
    fake: fake_cpython.Fake, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # uv itself, sent to a server that has no interpreters.
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", f"{server}/nothing")
    kept = Kept()
    got = install("3.14t", pin=fake.pin, sources=[fake.source], progress=kept)
    failed = [text for text in kept.messages if "uv could not provide" in text]
    assert len(failed) == 1
    assert "404" in failed[0]
    assert got.executable == here(fake).executable(here(fake).folder)


def test_what_uv_downloads_is_proved_and_used_from_the_cache(
    fake: fake_cpython.Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # uv itself, with a list of downloads that leads to a file.
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(uv_downloads(fake, tmp_path)))
    kept = Kept()
    got = install("3.14t", optimized=True, pin=fake.pin, sources=[], progress=kept)
    assert got.executable.is_relative_to(cache.cache_dir() / "interpreters" / "uv")
    assert got.facts["optimized_build"]
    assert "  cpython-3.14.7+freethreaded: downloaded with uv" in kept.messages
    again = install("3.14t", pin=fake.pin, sources=[])
    assert again.executable == got.executable
    built = install("3.14t", pin=fake.pin, sources=[fake.source], prebuilt=False)
    assert built.executable == here(fake).executable(here(fake).folder)


def uv_downloads(fake: fake_cpython.Fake, folder: Path) -> Path:
    """Make a list of downloads for uv, with one optimised fake interpreter."""
    uv = uv_executable()
    assert uv is not None
    listing = [uv, "python", "list", "--only-downloads", "--all-versions", "--output-format=json"]
    listed = subprocess.run(
        [*listing, f"{fake.pin.version}t"], check=True, capture_output=True, text=True
    )
    (known,) = json.loads(listed.stdout)
    archive = fake_cpython.make_prebuilt(folder)
    entry = {
        "name": "cpython",
        "arch": {"family": known["arch"], "variant": None},
        **{name: known[name] for name in ("os", "libc", "variant")},
        **known["version_parts"],
        "prerelease": "",
        "url": archive.as_uri(),
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "build": "1",
    }
    (folder / "downloads.json").write_text(json.dumps({known["key"]: entry}))
    return folder / "downloads.json"


def test_a_failed_build_keeps_its_log_and_nothing_else(
    fake: fake_cpython.Fake, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "1")
    with pytest.raises(BuildError, match="fatal: the fake fails") as raised:
        install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source])
    log = own_cache / "logs" / f"{here(fake).name}.log"
    assert str(log) in raised.value.remedy
    assert "configured: --prefix=" in log.read_text()
    assert not here(fake).folder.exists()
    assert list((own_cache / "staging").iterdir()) == []


def test_a_full_disk_is_an_error_with_a_remedy_and_leaves_nothing(
    fake: fake_cpython.Fake, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*args: object) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(build, "_unpack", no_space)
    with pytest.raises(BuildError, match="No space left") as raised:
        install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source])
    assert "GB" in raised.value.remedy
    assert list((own_cache / "staging").iterdir()) == []


def test_a_cache_folder_that_cannot_be_made_is_an_error_that_names_the_variable(
    fake: fake_cpython.Fake, own_cache: Path
) -> None:
    own_cache.write_text("a file is in its place")
    with pytest.raises(StoreError, match="cannot be used") as raised:
        install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source])
    assert "TODOBATCH_CACHE" in raised.value.remedy


def test_a_build_without_a_needed_module_is_refused(
    fake: fake_cpython.Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MISSING", "_ssl")
    with pytest.raises(BuildError, match="it lacks _ssl"):
        install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source])
    assert not here(fake).folder.exists()


@pytest.mark.timeout(100)  # a build that goes on would be waited for without end
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_an_install_that_is_killed_takes_its_build_along_and_leaves_nothing_half_done(
    fake: fake_cpython.Fake, own_cache: Path, fifos: dict[str, str], ending: signal.Signals
) -> None:
    process = start(fake, fifos)
    with process, open(fifos["FAKE_HOLD"]) as hold:
        assert hold.readline() == "installing\n"
        process.send_signal(ending)
        # The end of this file: every process of the build that held it open is gone.
        assert hold.read() == ""
        process.communicate()
    assert process.returncode != 0
    assert not here(fake).folder.exists()

    got = install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source])
    assert build.check(here(fake), got.executable) is None
    assert list((own_cache / "staging").iterdir()) == []


@pytest.mark.timeout(100)
def test_of_two_installs_at_once_the_second_waits_and_finds_it_done(
    fake: fake_cpython.Fake, tmp_path: Path, fifos: dict[str, str]
) -> None:
    journal = {"FAKE_JOURNAL": str(tmp_path / "journal")}
    first = start(fake, fifos | journal)
    with first, open(fifos["FAKE_HOLD"]) as hold:
        assert hold.readline() == "installing\n"
        second = start(fake, journal)
        with second:
            assert second.stderr is not None
            assert "waiting for it" in second.stderr.readline()
            assert not here(fake).folder.exists()
            Path(fifos["FAKE_GO"]).write_text("")
            answers = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert answers == [f"{here(fake).executable(here(fake).folder)}\n"] * 2
    assert (tmp_path / "journal").read_text().splitlines() == ["made"]


def test_a_version_without_a_pin_is_an_error_that_lists_those_with_one() -> None:
    with pytest.raises(UsageError, match=r"cannot install 3\.12") as raised:
        install("3.12")
    assert "3.14t" in raised.value.remedy
