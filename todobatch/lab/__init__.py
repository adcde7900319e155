"""The instrument: interpreters, plan, blocks of samples, the run folder and the verdict."""
