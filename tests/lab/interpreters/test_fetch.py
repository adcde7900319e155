"""The pinned archive is fetched from the first source that has it, whatever others answer."""

import os
from pathlib import Path

import pytest

from tests.lab.interpreters import fake_cpython
from tests.lab.interpreters.conftest import Kept
from todobatch.errors import BuildError
from todobatch.lab.interpreters import cache, fetch
from todobatch.lab.interpreters.fetch import Source
from todobatch.lab.interpreters.specs import Pin
from todobatch.lab.progress import Silent

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_next_source_is_asked_when_one_has_no_such_file(
    fake: fake_cpython.Fake, server: str
) -> None:
    empty = Source("empty", lambda pin: [f"{server}/elsewhere/{pin.archive}"])
    full = Source("full", lambda pin: [f"{server}/{pin.archive}"])
    kept = Kept()
    archive = fetch.fetch(fake.pin, kept, [empty, full])
    assert archive.read_bytes() == fake.archive.read_bytes()
    assert kept.messages[0].strip().startswith("empty: it answered 404")
    assert "is from full" in kept.messages[1]


def test_a_source_that_gives_another_file_is_named_with_both_sums_and_passed_over(
    fake: fake_cpython.Fake, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"not what is pinned")
    wrong = Source("wrong", lambda pin: [(tmp_path / "other").as_uri()])
    kept = Kept()
    fetch.fetch(fake.pin, kept, [wrong, fake.source])
    assert "wrong: it gave another file" in kept.messages[0]
    assert fake.pin.sha256 in kept.messages[0]


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
    for part in (
        "gone: it answered 404",
        "wrong: it gave",
        "none: none is set up on this machine",
        "deaf: it could",
    ):
        assert part in raised.value.cause
    assert fake.pin.sha256 in raised.value.remedy
    assert list((own_cache / "downloads").iterdir()) == []


def test_a_damaged_archive_in_the_cache_is_fetched_again(fake: fake_cpython.Fake) -> None:
    archive = cache.folder("downloads") / fake.pin.archive
    archive.write_bytes(b"half of it")
    assert fetch.fetch(fake.pin, Silent(), [fake.source]).read_bytes() == fake.archive.read_bytes()


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
