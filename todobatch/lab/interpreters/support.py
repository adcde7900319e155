"""The environment of measured processes: todobatch and its dependencies, for any interpreter.

Nothing is installed into a measured interpreter. It imports what it needs by PYTHONPATH, which has
in this order:

1. a folder of the cache with psutil and pytodotxt for its ABI, pinned with hashes;
2. a folder of the cache that holds only a link to the running todobatch's package;
3. the PYTHONPATH of this process.

The user's own modules are imported from the current folder, which comes after the standard library:
see `todobatch.ipc.parent_process`.
"""

import hashlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import todobatch
from todobatch.errors import BuildError, UsageError
from todobatch.lab.interpreters import cache
from todobatch.lab.interpreters.commands import run_bounded
from todobatch.lab.interpreters.discovery import Interpreter, uv_executable
from todobatch.lab.interpreters.specs import version_numbers

REQUIREMENTS = Path(__file__).with_name("worker-requirements.txt")
PEER_REQUIREMENTS = REQUIREMENTS.parents[1] / "drill" / "peers-requirements.txt"
"""The pools of other projects that `todobatch drill` compares with."""

# These variables would give another interpreter the wrong standard library or name.
_MISLEADING = ("PYTHONHOME", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__")

_PROOF = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
back_on = getattr(sys, "_is_gil_enabled", lambda: True)()
print("on" if back_on else "off")
"""
_IMPORTS = {
    REQUIREMENTS: ("psutil", "pytodotxt"),
    PEER_REQUIREMENTS: ("deadpool", "joblib", "loky", "mpire"),
}


def worker_environment(
    interpreter: Interpreter,
    *,
    gil: bool | None = None,
    inherit_gil: bool = False,
    own_code: bool = True,
) -> dict[str, str]:
    """Return the environment variables for a process of this interpreter.

    Without `gil` PYTHON_GIL is unset, so the build decides. `gil` sets it to 1 or 0, and
    `inherit_gil` keeps the value that this process has. Without `own_code`, nothing is imported
    from the current folder. The first call for an ABI installs the dependencies into the cache;
    later ones use them.

    Raises UsageError when a GIL build should run without its GIL (it would abort at start), and
    BuildError when the dependencies cannot be installed.
    """
    env = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    inherited = env.pop("PYTHON_GIL", None)
    value = {None: inherited if inherit_gil else None, True: "1", False: "0"}[gil]
    if value is not None:
        _check_gil(value, interpreter)
        env["PYTHON_GIL"] = value
    paths = [str(support_folder(interpreter)), str(_own_package())]
    if not own_code:
        env["PYTHONSAFEPATH"] = "1"
    earlier = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    env["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, *earlier]))
    return env


def support_folder(interpreter: Interpreter, requirements: Path = REQUIREMENTS) -> Path:
    """Return the folder with the dependencies for an interpreter, installed when it is missing.

    `requirements` is the file to install from: `REQUIREMENTS` or `PEER_REQUIREMENTS`. Raises
    BuildError when they cannot be installed.
    """
    name = _key(interpreter, requirements)
    final = cache.cache_dir() / "support" / name
    if final.is_dir():
        return final
    with cache.lock(f"support-{name}"):
        if not final.is_dir():
            with cache.staging(f"support-{name}") as aside:
                made = aside / "packages"
                _install(interpreter, made, requirements)
                _prove(interpreter, made, requirements)
                cache.move_into_place(made, final)
    return final


def _key(interpreter: Interpreter, requirements: Path) -> str:
    """Return the folder's name: interpreter, platform, and the content of the requirements."""
    facts = interpreter.facts
    flags = ("t" if facts["free_threaded_build"] else "") + ("d" if facts["debug_build"] else "")
    version = f"{facts['implementation']}-{facts['version']}{flags}"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return f"{version}-{sysconfig.get_platform()}-{digest[:12]}"


def _install(interpreter: Interpreter, to: Path, requirements: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k not in {*_MISLEADING, "PYTHON_GIL"}}
    failures = []
    for name, command in _installers(interpreter):
        shutil.rmtree(to, ignore_errors=True)
        where = ["--target", str(to), "--require-hashes", "-r", str(requirements)]
        status, _, printed = run_bounded([*command, *where], None, env=env)
        if status == 0:
            return
        failures.append(f"{name}: {' '.join(printed.split())[-600:]}")
    raise BuildError(
        f"the dependencies could not be installed ({'; '.join(failures) or 'no uv and no pip'})",
        place=f"{requirements.name} for {interpreter.executable}",
        remedy="check the network and the package index that uv or pip is set to"
        if failures
        else "install uv or pip",
    )


def _installers(interpreter: Interpreter) -> Iterator[tuple[str, list[str]]]:
    """Yield uv, then pip, because each may be set to an index that the other does not know."""
    python = str(interpreter.executable)
    uv = uv_executable()
    if uv is not None:
        yield "uv", [uv, "pip", "install", "--quiet", "--no-progress", "--python", python]
    pip = [sys.executable, "-m", "pip"]
    if run_bounded([*pip, "--version"], None)[0] == 0:
        yield "pip", [*pip, "--python", python, "install", "--quiet", "--no-input"]


def _prove(interpreter: Interpreter, packages: Path, requirements: Path = REQUIREMENTS) -> None:
    """Check that they import, and that a free-threaded build's GIL stays off with them loaded."""
    place = f"{requirements.name} for {interpreter.executable}"
    if (packages / "hiredis").exists():  # redis-py imports it when it is installed
        raise BuildError(
            "hiredis was installed too, and importing it turns the GIL back on",
            place=place,
            remedy=f"remove hiredis from {requirements.name}",
        )
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [str(interpreter.executable), "-P", "-c", _PROOF, *_IMPORTS.get(requirements, ())]
    status, answer, printed = run_bounded(command, None, env={**env, "PYTHONPATH": str(packages)})
    printed = " ".join(printed.split())[-600:]
    if status != 0:
        raise BuildError(
            f"the dependencies cannot be imported: {printed}",
            place=place,
            remedy="use an interpreter for which these packages have wheels",
        )
    if interpreter.facts["free_threaded_build"] and answer.strip() != "off":
        raise BuildError(
            f"a dependency turned the GIL back on: {printed}",
            place=place,
            remedy="psutil before 7.2 does this; install a newer one",
        )


def _own_package() -> Path:
    """Return a folder that holds only a link to the running todobatch's package.

    The whole site-packages folder must not reach a measured process: other packages in there were
    built for another interpreter.
    """
    package = Path(todobatch.__file__).resolve().parent
    folder = cache.folder("pythonpath", hashlib.sha256(str(package).encode()).hexdigest()[:12])
    link = folder / "todobatch"
    if not link.is_symlink():
        fresh = folder / f"todobatch@{os.getpid()}"
        fresh.symlink_to(package, target_is_directory=True)
        fresh.replace(link)  # a process that does this at the same time makes the same link
    return folder


def _check_gil(value: str, interpreter: Interpreter) -> None:
    facts = interpreter.facts
    knows_it = version_numbers(facts["version"]) >= (3, 13)  # earlier ones ignore the variable
    if value == "0" and knows_it and not facts["free_threaded_build"]:
        raise UsageError(
            "PYTHON_GIL=0 needs a free-threaded build: this one would abort at start",
            place=f"interpreter {interpreter.spec}",
            remedy="unset PYTHON_GIL, or choose a free-threaded interpreter such as 3.14t",
        )
