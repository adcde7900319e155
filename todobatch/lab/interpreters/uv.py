"""uv, the program: where it is."""

import shutil


def uv_executable() -> str | None:
    """The path of the uv that came with the extra ``lab``, else of one on PATH, else None."""
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        return shutil.which("uv")
