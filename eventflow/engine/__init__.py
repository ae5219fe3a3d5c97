"""The life of a run: from the call of a definition to the terminal state."""
