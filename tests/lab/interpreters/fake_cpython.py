"""A tiny source archive that builds as CPython's does, but at once.

`configure` and `make` really run, with DESTDIR and the options, and the tree gets an executable
``bin/python3.14t``. That executable is a script that answers as a real interpreter would. These
environment variables tell the build what to do:

FAKE_JOURNAL   a file: each `make` writes a line, so that builds can be counted
FAKE_FAIL      `make` fails
FAKE_MISSING   a module that the built interpreter lacks
FAKE_HOLD      a FIFO: `make install` writes to it at its start, and holds it open until its end
FAKE_GO        a FIFO: `make install` waits until it was opened for writing and closed
"""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from todobatch.lab.interpreters.fetch import Source
from todobatch.lab.interpreters.specs import Pin

VERSION = "3.14.7"

CONFIGURE = """#!/bin/sh
prefix= threaded= kind=false
for option; do
  case $option in
    --prefix=*) prefix=${option#--prefix=} ;;
    --disable-gil) threaded=t ;;
    --enable-optimizations) kind=true ;;
  esac
done
[ "$threaded" ] && free=true || free=false
sed -e "s|@free@|$free|" -e "s|@optimized@|$kind|" -e "s|@missing@|$FAKE_MISSING|g" \\
  python.in > python
printf 'PREFIX = %s\\nT = %s\\n' "$prefix" "$threaded" > config.mk
echo "configured: $*"
"""

MAKEFILE = """include config.mk
BIN = $(DESTDIR)$(PREFIX)/bin
all:
\t@if [ -n "$$FAKE_JOURNAL" ]; then echo made >> "$$FAKE_JOURNAL"; fi
\t@if [ -n "$$FAKE_FAIL" ]; then echo 'fatal: the fake fails'; exit 1; fi
install:
\tmkdir -p $(BIN) $(DESTDIR)$(PREFIX)/lib/python3.14$(T)/test
\tcp python $(BIN)/python3.14$(T)
\tcp python $(BIN)/python3.14
\tchmod +x $(BIN)/*
\t@if [ -n "$$FAKE_HOLD" ]; then \\
\t  exec 9>"$$FAKE_HOLD"; echo installing >&9; cat "$$FAKE_GO" >/dev/null; \\
\tfi
"""

FACTS = {
    "version": VERSION,
    "implementation": "cpython",
    "executable": "@self@",
    "free_threaded_build": "@free@",
    "gil_enabled": False,
    "debug_build": False,
    "optimized_build": "@optimized@",
    "lto_build": False,
    "config_args": "",
    "compiler": "fake",
    "cache_tag": "cpython-314",
}


def python_script(facts: dict[str, object], missing: str = "") -> str:
    """Return a script that answers as a real interpreter when it is asked what it is."""
    answer = {"facts": {**facts, "executable": "@self@"}, "prefix": "@self@", "missing": "@list@"}
    printed = json.dumps(answer)
    for name in ("@free@", "@optimized@"):
        printed = printed.replace(f'"{name}"', name)
    listed = f'$(test -z "{missing}" || echo \'"{missing}"\')'
    return (
        "#!/bin/sh\n"
        f"missing={listed}\n"
        f'sed -e "s|@self@|$0|g" -e "s|\\"@list@\\"|[$missing]|" <<\'END\'\n{printed}\nEND\n'
    )


@dataclass(frozen=True)
class Fake:
    """The fake archive and its pin."""

    archive: Path
    pin: Pin

    @property
    def source(self) -> Source:
        """Return a source that has the archive."""
        return Source("here", lambda pin: [self.archive.as_uri()])


def make(folder: Path) -> Fake:
    """Write the archive into a folder."""
    archive = folder / f"Python-{VERSION}.tar.xz"
    files = {
        "configure": CONFIGURE,
        "Makefile": MAKEFILE,
        "python.in": python_script(FACTS, missing="@missing@"),
    }
    top = f"Python-{VERSION}"
    _write(archive, {f"{top}/{name}": text for name, text in files.items()})
    return Fake(archive, Pin(VERSION, hashlib.sha256(archive.read_bytes()).hexdigest()))


def make_prebuilt(folder: Path) -> Path:
    """Write an archive as uv downloads them: a free-threaded, profile-guided build."""
    archive = folder / "cpython-install_only.tar.gz"
    script = python_script({**FACTS, "free_threaded_build": True, "optimized_build": True})
    # uv rewrites the build's own paths in the second file, and knows it by its first line.
    sysconfig = "# system configuration generated and used by the sysconfig module\n"
    sysconfig += "build_time_vars = {}\n"
    files = {
        "python/bin/python3.14t": script,
        "python/lib/python3.14t/_sysconfigdata_t_linux_x86_64-linux-gnu.py": sysconfig,
    }
    _write(archive, files)
    return archive


def _write(archive: Path, files: dict[str, str]) -> None:
    opened = tarfile.open(archive, "w:xz" if archive.suffix == ".xz" else "w:gz")  # noqa: SIM115
    with opened as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755
            tar.addfile(entry, io.BytesIO(text.encode()))
