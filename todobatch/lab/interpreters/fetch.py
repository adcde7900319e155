"""Fetch a pinned source archive from the first source that gives exactly what is pinned."""

import hashlib
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from todobatch.errors import BuildError
from todobatch.lab.interpreters import cache
from todobatch.lab.interpreters.pins import Pin
from todobatch.lab.interpreters.progress import Progress
from todobatch.units import Seconds

SOCKET_TIMEOUT_S: Seconds = 15.0
"""For each wait on the network, not for the whole: a slow download goes on, a dead one does not."""

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Source:
    """A place that may have an archive: its name for people, and the addresses to try."""

    name: str
    addresses: Callable[[Pin], Iterable[str]]


def from_python_org(pin: Pin) -> Iterator[str]:
    """Where upstream publishes it; candidates of 3.15.0 are in the folder 3.15.0."""
    release = pin.version.partition("a")[0].partition("b")[0].partition("rc")[0]
    yield f"https://www.python.org/ftp/python/{release}/{pin.archive}"


def from_debian_mirror(pin: Pin) -> Iterator[str]:
    """Where this machine's own mirror has it, as apt is set up here; nothing where apt is not.

    Debian keeps upstream's archive untouched beside its own changes, under another name.
    """
    minor = ".".join(pin.version.split(".")[:2])
    debian_version = pin.version
    for stage in ("a", "b", "rc"):
        debian_version = debian_version.replace(stage, f"~{stage}")
    path = f"pool/main/p/python{minor}/python{minor}_{debian_version}.orig.tar.xz"
    yield from (f"{base.rstrip('/')}/{path}" for base in _mirrors())


SOURCES = (Source("python.org", from_python_org), Source("the Debian mirror", from_debian_mirror))


def fetch(pin: Pin, progress: Progress, sources: Sequence[Source] = SOURCES) -> Path:
    """The verified archive in the cache; downloaded when it is not there yet.

    Raises BuildError that says what came of each source when none gave it.
    """

    def waiting() -> None:
        progress.note(f"another todobatch is fetching {pin.archive}: waiting for it")

    with cache.lock(pin.archive, waiting=waiting):
        kept = cache.folder("downloads") / pin.archive
        if kept.is_file() and _sha256(kept) == pin.sha256:
            return kept
        with cache.staging(pin.archive) as aside:
            fresh = aside / pin.archive
            _first_that_fits(pin, sources, fresh, progress)
            fresh.replace(kept)
        return kept


def _first_that_fits(pin: Pin, sources: Sequence[Source], fresh: Path, progress: Progress) -> None:
    said = []
    for source in sources:
        addresses = list(source.addresses(pin))
        if not addresses:
            said.append(f"{source.name}: this machine has none")
        for address in addresses:
            problem = _try(
                address, pin, fresh, f"downloading {pin.archive} ({source.name})", progress
            )
            if problem is None:
                progress.note(
                    f"  {pin.archive} is from {source.name}; its sha256 is the pinned one"
                )
                return
            said.append(f"{source.name}: {problem}")
            progress.note(f"  {said[-1]}")
    raise BuildError(
        "no source gave the archive: " + "; ".join(said),
        place=pin.archive,
        remedy=f"put the archive with sha256 {pin.sha256} at "
        f"{cache.cache_dir() / 'downloads' / pin.archive}, or look at the network",
    )


def _try(address: str, pin: Pin, fresh: Path, title: str, progress: Progress) -> str | None:
    """Download one address; None when it is what was pinned, else what was wrong."""
    try:
        got = _download(address, fresh, title, progress)
    except urllib.error.HTTPError as error:
        return f"it answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return f"it could not be reached: {error.reason}"
    except OSError as error:  # a time-out or a connection that broke half-way
        return f"the download broke off: {error}"
    if got != pin.sha256:
        return f"it gave another file: sha256 is {got}, pinned is {pin.sha256}"
    return None


def _download(address: str, fresh: Path, title: str, progress: Progress) -> str:
    """Save what an address gives, and return its sha256."""
    digest = hashlib.sha256()
    # The addresses are ours or apt's own; file: ones are local mirrors.
    request = urllib.request.Request(address, headers={"User-Agent": "todobatch"})  # noqa: S310
    with (
        urllib.request.urlopen(request, timeout=SOCKET_TIMEOUT_S) as answer,  # noqa: S310
        fresh.open("wb") as file,
    ):
        size = answer.headers.get("Content-Length")
        progress.stage(title, float(size) if size else None)
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            progress.advance(len(chunk))
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mirrors() -> list[str]:
    """The base addresses of the mirrors that apt takes packages from."""
    if shutil.which("apt-get") is None:
        return []
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    sites = dict.fromkeys(done.stdout.split())
    return [site for site in sites if site.startswith(("http://", "https://", "file:/"))]
