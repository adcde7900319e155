"""Run pytest on a measured interpreter: ``python tests/tools/run_on.py 3.14t tests/contract -q``.

Two kinds of tests are left out by their markers. Some need the controller's libraries, which are
not installed there. Others start interpreters themselves, so it makes no difference where they run.

The interpreter gets todobatch's own worker environment and, beside it, the pinned test tools of
requirements/worker-test.txt. These are installed once, into the cache folder:
``run_on.py --prepare 3.14 3.14t``.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from todobatch.errors import TodobatchError
from todobatch.lab import interpreters

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements" / "worker-test.txt"


def environment(interpreter: interpreters.Interpreter) -> dict[str, str]:
    """Return the environment of a child: that of a worker, with the test tools."""
    env = interpreters.worker_environment(interpreter)
    paths = [env.get("PYTHONPATH", ""), str(prepare(interpreter))]
    return {**env, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def prepare(interpreter: interpreters.Interpreter) -> Path:
    """Return the folder with the test tools for this interpreter; install it if it is missing."""
    folder = _folder(interpreter)
    if folder.is_dir():
        return folder
    print(f"Installing the test tools for {interpreter.executable} in {folder}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made aside and moved into place whole: an interrupted install leaves nothing half done.
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        fresh = Path(aside) / "tools"
        _install(interpreter, fresh)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was first, with the same content
                raise
    return folder


def _folder(interpreter: interpreters.Interpreter) -> Path:
    facts = interpreter.facts
    made_from = [str(interpreter.executable), facts["version"], facts["config_args"]]
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + "\n".join(made_from).encode()).hexdigest()
    return interpreters.cache_dir() / "test-support" / key[:16]


def _install(interpreter: interpreters.Interpreter, target: Path) -> None:
    files = ["--require-hashes", "--target", str(target), "-r", str(REQUIREMENTS)]
    python = str(interpreter.executable)
    with_uv = [_uv(), "pip", "install", "--quiet", "--python", python, *files]
    if subprocess.run(with_uv, check=False).returncode == 0:
        return
    # pip knows an index that only pip's own configuration names.
    print("uv could not install them; trying pip", flush=True)
    shutil.rmtree(target, ignore_errors=True)
    with_pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *files]
    subprocess.run(with_pip, check=True)


def _uv() -> str:
    from uv import find_uv_bin

    return str(find_uv_bin())


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    try:
        if arguments[0] == "--prepare":
            for spec in arguments[1:]:
                prepare(interpreters.find(spec))
            return 0
        interpreter = interpreters.find(arguments[0])
        env = environment(interpreter)
    except TodobatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    command = [str(interpreter.executable), "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["-m", "not controller and not interpreters"]
    # 3.14t crashes when two threads start it at once (python/cpython#126315), marked or not.
    command += ["-o", "thread_unsafe_functions=tracemalloc.start"]
    return subprocess.run([*command, *arguments[1:]], env=env, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
