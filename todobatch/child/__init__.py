"""All that runs inside a measured interpreter: the standard library and psutil only."""
