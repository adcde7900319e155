"""How todobatch talks with its child processes: both ends of the channel, and records as JSON."""
