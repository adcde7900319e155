"""Measure executors on several interpreters, store the samples, and find the fastest approach."""
