"""What a journal consists of: its file, and the batches in which tasks failed."""
