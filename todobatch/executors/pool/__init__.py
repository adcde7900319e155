"""Code that `processes` and `interpreters` share: workers that get batches through sockets."""
