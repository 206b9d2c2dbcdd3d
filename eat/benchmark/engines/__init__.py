"""What answers a batch: one file for each engine."""
