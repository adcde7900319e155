"""One job in one process of a measured interpreter: its description, its engine and its client."""
