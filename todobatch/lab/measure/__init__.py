"""Measure samples: one sample, the order of samples, a whole run, and two cells in turns."""
