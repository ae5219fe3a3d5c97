"""The output of the command line: tables, times, progress, styles."""
