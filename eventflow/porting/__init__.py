"""Rewrites programs that were written for Prefect; needs libcst, of the extra `port`."""
