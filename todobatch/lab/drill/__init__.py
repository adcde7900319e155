"""Run every executor with every fault, and count what became of the tasks."""
