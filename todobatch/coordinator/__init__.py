"""Turns a stream of tasks into a report: it makes batches, orders, retries and saves them."""
