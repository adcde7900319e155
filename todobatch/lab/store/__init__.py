"""The run folder: what was seen, and on which machine."""
