"""Values as they are recorded and given back: their types, what is secret, what is unavailable."""
