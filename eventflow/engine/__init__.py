"""Executing runs, from the call of a definition to the terminal state."""
