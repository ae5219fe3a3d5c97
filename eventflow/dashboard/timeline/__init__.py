"""The timeline of a run: what it called, and when each of that waited, ran and ended."""
