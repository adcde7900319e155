"""Check that this machine can build CPython, and install what is missing where possible.

A header is found by compiling an `#include` of it, with the compiler and flags of the build.
"""

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from todobatch.errors import BuildError
from todobatch.lab.interpreters.commands import run_bounded
from todobatch.lab.progress import Progress


@dataclass(frozen=True, slots=True)
class Library:
    """A library that CPython is built against."""

    header: str
    package: str
    """The Debian package that has the header."""
    gives: str
    """The Python modules that need the library."""
    needed: bool
    """Whether todobatch needs these modules."""


LIBRARIES = (
    Library("zlib.h", "zlib1g-dev", "zlib", needed=True),
    Library("openssl/ssl.h", "libssl-dev", "ssl, hashlib", needed=True),
    Library("ffi.h", "libffi-dev", "ctypes", needed=True),
    Library("sqlite3.h", "libsqlite3-dev", "sqlite3", needed=True),
    Library("bzlib.h", "libbz2-dev", "bz2", needed=False),
    Library("lzma.h", "liblzma-dev", "lzma", needed=False),
    Library("zstd.h", "libzstd-dev", "compression.zstd", needed=False),
    Library("readline/readline.h", "libreadline-dev", "readline", needed=False),
    Library("uuid/uuid.h", "uuid-dev", "fast uuid1", needed=False),
)
TOOLS = "build-essential"
"""The Debian package with a C compiler, make and the C library's headers."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What this machine lacks for a build."""

    tools: tuple[str, ...]
    libraries: tuple[Library, ...]

    @property
    def packages(self) -> list[str]:
        """Return the Debian packages that provide what is missing."""
        return [*([TOOLS] if self.tools else []), *(lib.package for lib in self.libraries)]

    @property
    def fatal(self) -> list[str]:
        """Return the missing tools and headers without which a build fails."""
        return [
            *self.tools,
            *(f"{lib.header} ({lib.gives})" for lib in self.libraries if lib.needed),
        ]


def ensure(progress: Progress) -> None:
    """Make sure that CPython can be built, and install what is missing on Debian as root.

    Raises BuildError with the packages to install when something that is needed stays missing.
    What is not needed is only reported to `progress`.
    """
    missing = look()
    if missing.fatal and _may_install():
        progress.message(f"  missing for the build: {', '.join(missing.fatal)}")
        _apt_install(missing.packages, progress)
        missing = look()
    if missing.fatal:
        raise BuildError(
            f"building CPython needs {', '.join(missing.fatal)}",
            place="the machine's compiler and headers",
            remedy=advice(missing),
        )
    if missing.libraries:
        without = ", ".join(lib.gives for lib in missing.libraries)
        progress.message(f"  the build will lack {without} (todobatch does not need these)")
        progress.message(f"  to add them: {advice(missing)}")


def look() -> Missing:
    """Return the tools, headers and libraries that this machine lacks to build CPython."""
    compiler = _compiler()
    tools = [] if compiler else ["a C compiler"]
    if shutil.which("make") is None:
        tools.append("make")
    if compiler and not _compiles(compiler, "stdlib.h"):
        tools.append("the C library's headers")
    if tools or compiler is None:
        # Without a compiler no header can be found, so all may be missing.
        return Missing(tuple(tools), LIBRARIES)
    return Missing((), tuple(lib for lib in LIBRARIES if not _compiles(compiler, lib.header)))


def advice(missing: Missing) -> str:
    """Return the command that installs what is missing."""
    if shutil.which("apt-get"):
        sudo = "" if os.geteuid() == 0 else "sudo "
        return f"{sudo}apt-get install {' '.join(missing.packages)}"
    return "install a C compiler, make, and the headers of zlib, OpenSSL, libffi and SQLite"


def _compiler() -> list[str] | None:
    """Return the compiler that configure would use, with its flags."""
    chosen = os.environ.get("CC")
    names = [chosen] if chosen else ["gcc", "cc", "clang"]
    for name in names:
        words = shlex.split(name)
        if words and shutil.which(words[0]):
            return [*words, *shlex.split(os.environ.get("CPPFLAGS", ""))]
    return None


def _compiles(compiler: list[str], header: str) -> bool:
    # readline's header uses FILE without including the header that declares it.
    source = f"#include <stdio.h>\n#include <{header}>\n"
    return run_bounded([*compiler, "-fsyntax-only", "-x", "c", "-"], 60.0, stdin=source)[0] == 0


def _may_install() -> bool:
    return (
        os.geteuid() == 0
        and Path("/etc/debian_version").exists()
        and shutil.which("apt-get") is not None
    )


def _apt_install(packages: list[str], progress: Progress) -> None:
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    progress.step(f"{' '.join(install[:2])} {' '.join(packages)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if run_bounded(install, 900.0, env=env)[0] != 0:
        # A fresh machine has no package lists yet, or old ones.
        for command in (["apt-get", "update"], install):
            run_bounded(command, 900.0, env=env)
