"""The run folder: samples, the plan and the machine."""
