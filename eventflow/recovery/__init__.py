"""Finishing what a dead owner left: its runs crash, and the hooks that they owe run."""
