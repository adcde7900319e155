"""Benchmarks: the asv suite, the pyperf suite, comparisons with peers, and goals."""
