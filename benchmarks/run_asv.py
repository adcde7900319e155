"""Run asv with the measured interpreters on PATH: ``run_asv.py run HEAD~2..HEAD``.

asv looks for ``python3.14`` and ``python3.14t`` on PATH. When it finds none, it silently uses
another build. This script raises an error instead, which says how to install the missing one.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from todobatch.errors import TodobatchError
from todobatch.lab.interpreters import DEFAULT_INTERPRETERS, find_all


def main(arguments: list[str]) -> int:
    """Run asv with `arguments` and return its exit code."""
    with tempfile.TemporaryDirectory(prefix="todobatch-asv-") as folder:
        try:
            for each in find_all(DEFAULT_INTERPRETERS):
                (Path(folder) / f"python{each.spec}").symlink_to(each.executable)
        except TodobatchError as error:
            print(f"todobatch: error: {error}", file=sys.stderr)
            return error.exit_code
        env = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        asv = [sys.executable, "-m", "asv"]
        if not (Path.home() / ".asv-machine.json").exists():
            # Otherwise asv asks questions, which a script cannot answer.
            subprocess.run([*asv, "machine", "--yes"], env=env, check=True)
        return subprocess.run([*asv, *arguments], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
