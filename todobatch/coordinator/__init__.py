"""From a stream of tasks to a report: batches, their order, their recovery and what is kept."""
