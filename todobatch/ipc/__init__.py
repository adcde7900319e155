"""Communication with child processes: both ends of the channel, and records as JSON."""
