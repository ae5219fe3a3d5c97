"""Comparison with other systems: the same work on each side, measured in turn in one run."""
