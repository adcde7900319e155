"""Download a source archive from the first source whose file has the pinned checksum."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from todobatch.errors import BuildError
from todobatch.lab.interpreters import cache
from todobatch.lab.interpreters.commands import run_bounded
from todobatch.lab.interpreters.specs import Pin
from todobatch.lab.progress import Progress
from todobatch.units import Seconds

SOCKET_TIMEOUT_S: Seconds = 15.0
"""The limit of each wait on the network, so a slow download continues and a dead one ends."""

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Source:
    """A place that may have an archive: its name in messages, and the addresses to try."""

    name: str
    addresses: Callable[[Pin], Iterable[str]]


def from_python_org(pin: Pin) -> Iterator[str]:
    """Yield the address at python.org, where pre-releases are in the folder of their release."""
    release = pin.version.partition("a")[0].partition("b")[0].partition("rc")[0]
    yield f"https://www.python.org/ftp/python/{release}/{pin.archive}"


def from_debian_mirror(pin: Pin) -> Iterator[str]:
    """Yield the addresses at the Debian mirrors that apt is set to; none where there is no apt.

    Debian keeps upstream's archive unchanged beside its own changes, under another name.
    """
    minor = ".".join(pin.version.split(".")[:2])
    debian_version = pin.version
    for stage in ("a", "b", "rc"):
        debian_version = debian_version.replace(stage, f"~{stage}")
    path = f"pool/main/p/python{minor}/python{minor}_{debian_version}.orig.tar.xz"
    yield from (f"{base.rstrip('/')}/{path}" for base in _mirrors())


SOURCES = (Source("python.org", from_python_org), Source("the Debian mirror", from_debian_mirror))


def fetch(pin: Pin, progress: Progress, sources: Sequence[Source] = SOURCES) -> Path:
    """Return the verified archive in the cache, downloaded if it is missing.

    Raises BuildError if no source gave the archive. It says what each one answered.
    """
    other = f"another todobatch is fetching {pin.archive}: waiting for it"
    with cache.lock(pin.archive, waiting=lambda: progress.message(other)):
        kept = cache.folder("downloads") / pin.archive
        if kept.is_file() and _sha256(kept) == pin.sha256:
            return kept
        with cache.staging(pin.archive) as aside:
            fresh = aside / pin.archive
            _download_first(pin, sources, fresh, progress)
            fresh.replace(kept)
        return kept


def _download_first(pin: Pin, sources: Sequence[Source], fresh: Path, progress: Progress) -> None:
    """Download the archive from the first source whose file has the pinned checksum."""
    answers = []
    for source in sources:
        addresses = list(source.addresses(pin))
        if not addresses:
            answers.append(f"{source.name}: none is set up on this machine")
        for address in addresses:
            text = f"downloading {pin.archive} ({source.name})"
            problem = _try(address, pin, fresh, text, progress)
            if problem is None:
                progress.message(
                    f"  {pin.archive} is from {source.name}; its sha256 is the pinned one"
                )
                return
            answers.append(f"{source.name}: {problem}")
            progress.message(f"  {answers[-1]}")
    raise BuildError(
        "no source gave the archive: " + "; ".join(answers),
        place=pin.archive,
        remedy=f"put the archive with sha256 {pin.sha256} at "
        f"{cache.cache_dir() / 'downloads' / pin.archive}, or check the network",
    )


def _try(address: str, pin: Pin, fresh: Path, text: str, progress: Progress) -> str | None:
    """Download from one address; return what was wrong, or None for the pinned file."""
    # The addresses are ours or apt's own; file: ones are local mirrors.
    request = urllib.request.Request(address, headers={"User-Agent": "todobatch"})  # noqa: S310
    try:
        with (
            urllib.request.urlopen(request, timeout=SOCKET_TIMEOUT_S) as answer,  # noqa: S310
            fresh.open("wb") as file,
        ):
            size = answer.headers.get("Content-Length")
            progress.step(text, 0, float(size) if size else None)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                progress.step(text, file.tell(), float(size) if size else None)
    except urllib.error.HTTPError as error:
        return f"it answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return f"it could not be reached: {error.reason}"
    except OSError as error:  # a timeout, or a connection that was lost
        return f"the download was interrupted: {error}"
    if (got := _sha256(fresh)) != pin.sha256:
        return f"it gave another file: sha256 is {got}, pinned is {pin.sha256}"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mirrors() -> list[str]:
    """Return the base addresses of the mirrors that apt is set to."""
    listing = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = dict.fromkeys(run_bounded(listing, 30.0)[1].split())  # none without apt
    return [site for site in sites if site.startswith(("http://", "https://", "file:/"))]
