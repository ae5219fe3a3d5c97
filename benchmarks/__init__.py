"""Benchmarks: what eventflow costs, as ratios to hand-written floors of the same run."""
