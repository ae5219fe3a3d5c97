"""The write-ahead log: what happens is stored in segments at once, and committed in groups."""
