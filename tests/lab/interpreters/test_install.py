"""Installing an interpreter: the order of ways, pins, locks, and what an interruption leaves."""

import errno
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.interpreters import fake_cpython
from todobatch.errors import BuildError, StoreError, UsageError
from todobatch.lab.interpreters import build, cache, fetch, install, toolchain
from todobatch.lab.interpreters.fetch import Source
from todobatch.lab.interpreters.pins import Pin
from todobatch.lab.interpreters.progress import Silent
from todobatch.lab.interpreters.uv import uv_executable

ROOT = Path(__file__).resolve().parents[3]

# A real todobatch in a process of its own, as two users of one cache would start it.
INSTALL = """
import sys
from pathlib import Path
from todobatch.lab.interpreters import install, toolchain
from todobatch.lab.interpreters.fetch import Source
from todobatch.lab.interpreters.pins import Pin
from todobatch.lab.interpreters.progress import Lines
toolchain.ensure = lambda progress: None  # the fake needs make and no compiler
archive, version, sha256 = sys.argv[1:]
print(install(
    "3.14t", prebuilt=False, progress=Lines(), pin=Pin(version, sha256),
    sources=[Source("here", lambda pin: [Path(archive).as_uri()])],
).executable)
"""


class Notes(Silent):
    """Keeps what people would be told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TODOBATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain, "ensure", lambda progress: None)
    return tmp_path / "cache"


@pytest.fixture
def fake(tmp_path: Path) -> fake_cpython.Fake:
    (tmp_path / "upstream").mkdir()
    return fake_cpython.make(tmp_path / "upstream")


@pytest.fixture
def server(fake: fake_cpython.Fake) -> Iterator[str]:
    """A loopback web server with the archive in it; anything else is 404."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(fake.archive.parent))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


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
    notes = Notes()
    install("3.14t", prebuilt=False, pin=fake.pin, sources=[fake.source], progress=notes)
    assert any("no use any more" in said and "libc.so.7" in said for said in notes.said)
    assert build.check(here(fake), first.executable) is None


def test_uv_is_tried_first_and_its_failure_is_told_before_the_source_is_built(
    fake: fake_cpython.Fake, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # uv itself, sent to a server that has no interpreters.
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", f"{server}/nothing")
    notes = Notes()
    got = install("3.14t", pin=fake.pin, sources=[fake.source], progress=notes)
    told = [said for said in notes.said if "uv could not provide" in said]
    assert len(told) == 1
    assert "404" in told[0]
    assert got.executable == here(fake).executable(here(fake).folder)


def test_what_uv_downloads_is_proved_and_taken_from_our_cache(
    fake: fake_cpython.Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # uv itself, with a list of downloads that leads to a file.
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(uv_downloads(fake, tmp_path)))
    notes = Notes()
    got = install("3.14t", optimized=True, pin=fake.pin, sources=[], progress=notes)
    assert got.executable.is_relative_to(cache.cache_dir() / "interpreters" / "uv")
    assert got.facts["optimized_build"]
    assert "  cpython-3.14.7+freethreaded: downloaded with uv" in notes.said
    again = install("3.14t", pin=fake.pin, sources=[], prebuilt=False)
    assert again.executable == got.executable


def uv_downloads(fake: fake_cpython.Fake, folder: Path) -> Path:
    """A list of one download for uv: an optimised fake interpreter for this platform."""
    uv = uv_executable()
    assert uv is not None
    listing = [uv, "python", "list", "--only-downloads", "--all-versions", "--output-format=json"]
    said = subprocess.run(
        [*listing, f"{fake.pin.version}t"], check=True, capture_output=True, text=True
    )
    (known,) = json.loads(said.stdout)
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


def test_the_next_source_is_taken_when_one_has_no_such_file(
    fake: fake_cpython.Fake, server: str
) -> None:
    empty = Source("empty", lambda pin: [f"{server}/elsewhere/{pin.archive}"])
    full = Source("full", lambda pin: [f"{server}/{pin.archive}"])
    notes = Notes()
    archive = fetch.fetch(fake.pin, notes, [empty, full])
    assert archive.read_bytes() == fake.archive.read_bytes()
    assert notes.said[0].strip().startswith("empty: it answered 404")
    assert "is from full" in notes.said[1]


def test_a_source_that_gives_another_file_is_named_with_both_sums_and_passed_over(
    fake: fake_cpython.Fake, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"not what is pinned")
    wrong = Source("wrong", lambda pin: [(tmp_path / "other").as_uri()])
    notes = Notes()
    fetch.fetch(fake.pin, notes, [wrong, fake.source])
    assert "wrong: it gave another file" in notes.said[0]
    assert fake.pin.sha256 in notes.said[0]


def test_when_no_source_gives_the_archive_the_error_says_what_each_one_did(
    fake: fake_cpython.Fake, server: str, tmp_path: Path, own_cache: Path
) -> None:
    (tmp_path / "other").write_bytes(b"not what is pinned")
    sources = [
        Source("gone", lambda pin: [f"{server}/gone"]),
        Source("wrong", lambda pin: [(tmp_path / "other").as_uri()]),
        Source("none", lambda pin: []),
        Source("deaf", lambda pin: ["http://127.0.0.1:1/closed"]),
    ]
    with pytest.raises(BuildError) as raised:
        fetch.fetch(fake.pin, Silent(), sources)
    for part in ("gone: it answered 404", "wrong: it gave", "none: this machine", "deaf: it could"):
        assert part in raised.value.cause
    assert fake.pin.sha256 in raised.value.remedy
    assert list((own_cache / "downloads").iterdir()) == []


def test_a_damaged_archive_in_the_cache_is_fetched_again(fake: fake_cpython.Fake) -> None:
    kept = cache.folder("downloads") / fake.pin.archive
    kept.write_bytes(b"half of it")
    assert fetch.fetch(fake.pin, Silent(), [fake.source]).read_bytes() == fake.archive.read_bytes()


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
    with pytest.raises(UsageError, match=r"knows no source of 3\.12") as raised:
        install("3.12")
    assert "3.14t" in raised.value.remedy


def test_without_a_compiler_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real toolchain check
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(BuildError, match="a C compiler, make") as raised:
        toolchain.ensure(Silent())
    assert "compiler" in raised.value.remedy


def test_headers_are_looked_for_with_the_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A compiler that has all headers but two.
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\n! grep -q -e openssl -e zstd\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    missing = toolchain.look()
    assert missing.packages == ["libssl-dev", "libzstd-dev"]
    assert missing.fatal == ["openssl/ssl.h (ssl, hashlib)"]


def test_what_is_missing_is_installed_with_apt_where_that_is_ours_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real toolchain check
    installed = tmp_path / "installed"
    programs = {
        "cc": f"test -e {installed} || ! grep -q openssl",
        # As on a fresh machine: nothing can be installed before the package lists are there.
        "apt-get": f"""
echo "$*" >> {tmp_path}/asked
case $1 in
  update) touch {tmp_path}/lists ;;
  install) test -e {tmp_path}/lists && touch {installed} ;;
esac
""",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(toolchain, "_may_install", lambda: True)
    toolchain.ensure(Silent())
    install_line = "install --yes --no-install-recommends libssl-dev"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [install_line, "update", install_line]


def test_the_archives_address_at_python_org_has_the_final_releases_folder() -> None:
    pin = Pin("3.15.0rc2", "0" * 64)
    (address,) = fetch.from_python_org(pin)
    assert address.endswith("/3.15.0/Python-3.15.0rc2.tar.xz")


def test_the_debian_mirror_is_the_one_that_apt_is_set_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\nprintf 'http://a.test/debian\\nhttp://a.test/debian\\ncdrom:x\\n'\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    pin = Pin("3.15.0rc2", "0" * 64)
    assert list(fetch.from_debian_mirror(pin)) == [
        "http://a.test/debian/pool/main/p/python3.15/python3.15_3.15.0~rc2.orig.tar.xz"
    ]
