"""Timing samples: the nursery, one sample, the order of samples, a whole run."""
