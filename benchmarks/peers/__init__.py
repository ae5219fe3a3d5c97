"""eventflow beside its peers: the same work on each side, measured in turn in one run."""
