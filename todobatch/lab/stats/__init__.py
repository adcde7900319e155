"""Statistics that are computed from a run's samples; each module names the sources of its formulas.

`estimate`  means and ratios with their 95 % intervals, and verdicts for a fixed number of blocks
`evidence`  verdicts that stay valid when the data are looked at after every block
`holm`      the correction for many comparisons
`verdict`   summaries of cells, comparisons, and which approach is fastest
`reasons`   why an approach is slower, from what was measured

How to add a statistic: docs/architecture.md.
"""
