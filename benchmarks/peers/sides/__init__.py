"""One file for each side: the same work, as the documentation of that side recommends it."""
