"""Headers for a build are found with the compiler, and installed where possible."""

import os
from pathlib import Path

import pytest

from todobatch.errors import BuildError
from todobatch.lab.interpreters import toolchain
from todobatch.lab.progress import Silent


def test_without_a_compiler_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_what_is_missing_is_installed_with_apt_as_root_on_debian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
