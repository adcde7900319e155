"""Compare two runs, or two pyperf files."""
