"""Choose what a run measures: cells, interpreters and tasks."""
