"""What `Flow` and `Task` have in common: a function, its parameters, its options."""
