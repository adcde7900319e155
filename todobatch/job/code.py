"""Identifies the code of a workload, so that a resumed job notices that it has changed."""

import hashlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from todobatch import __version__
from todobatch.processors import WORKLOADS

_PACKAGES = {"site-packages", "dist-packages"}


def code_of(workload: str) -> dict[str, str]:
    """Return the digest of each module that makes up a workload, by the module's name.

    For ``package.module:function`` these are the module, and the modules of the same package that
    are loaded once the module is imported. For a module without a package they are those in its
    folder and below. A digest is the SHA-256 of the module's source file, so a changed comment
    changes it, and another interpreter does not. Not included are installed packages, modules that
    a function imports later, and files of data.

    For a built-in workload it is todobatch's version. Empty if the module cannot be imported.
    """
    if workload in WORKLOADS:
        return {"todobatch": __version__}
    name = workload.partition(":")[0]
    try:
        main = importlib.import_module(name)
    except (Exception, SystemExit):  # whoever loads the workload reports it
        return {}
    return {
        module.__name__: digest
        for module in (main, *_helpers(main))
        if (digest := _digest(module)) is not None
    }


def _helpers(main: ModuleType) -> Iterator[ModuleType]:
    """Yield the loaded modules of the user's own that belong to the same package or folder."""
    file = getattr(main, "__file__", None)
    if file is None:
        return
    package = main.__name__.partition(".")[0]
    whole = sys.modules.get(package)
    paths = list(getattr(whole, "__path__", [])) or [str(Path(file).parent)]
    folders = [Path(path).resolve() for path in paths]
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if module is main or not path or name == "__main__" or name.split(".")[0] == "todobatch":
            continue
        for folder in folders:
            place = Path(path).resolve()
            if place.is_relative_to(folder) and not _PACKAGES & {*place.relative_to(folder).parts}:
                yield module
                break


def _digest(module: ModuleType) -> str | None:
    """Return the SHA-256 of a module's file, which may be in an archive; None without one."""
    loader = getattr(module.__spec__, "loader", None)
    try:
        return hashlib.sha256(loader.get_data(module.__file__)).hexdigest()  # type: ignore[union-attr]
    except (AttributeError, TypeError, OSError):
        return None
