"""This process, and others, as owners of runs: locks, folders, the guardian, leases."""
