"""What is timed across commits (asv) and on its own (pyperf_suite.py)."""
