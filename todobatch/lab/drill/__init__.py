"""Every fault against every executor."""
