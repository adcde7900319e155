"""``python -m todobatch``: the command line."""

from todobatch.cli import main

main()
