"""Helpers that every other part may use, and that know nothing of runs."""
