"""Recover dead owners: their unfinished runs enter Crashed, and the hooks they owe are run."""
