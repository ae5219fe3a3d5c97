"""The commands of `eventflow`, one module for each group."""
