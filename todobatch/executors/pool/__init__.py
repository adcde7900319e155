"""What `processes` and `interpreters` share: workers that are reached through sockets."""
