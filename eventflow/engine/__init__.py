"""Executing runs, from the call of a definition to the terminal state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventflow.primitives.loading import lazily

if TYPE_CHECKING:
    from eventflow.context import refuse, reloading
    from eventflow.definitions.mapping import rows
    from eventflow.engine.drivers import adrive, drive
    from eventflow.engine.generators import adrive_generator, drive_generator
    from eventflow.engine.invocation import Invocation
    from eventflow.engine.submission import submit, submit_and_wait
    from eventflow.runs.futures import FutureList

__all__ = [
    "FutureList",
    "Invocation",
    "adrive",
    "adrive_generator",
    "drive",
    "drive_generator",
    "refuse",
    "reloading",
    "rows",
    "submit",
    "submit_and_wait",
]

# A program that only defines flows and tasks loads no engine: it is loaded by the first call.
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "eventflow.context": ("refuse", "reloading"),
            "eventflow.definitions.mapping": ("rows",),
            "eventflow.engine.drivers": ("adrive", "drive"),
            "eventflow.engine.generators": ("adrive_generator", "drive_generator"),
            "eventflow.engine.invocation": ("Invocation",),
            "eventflow.engine.submission": ("submit", "submit_and_wait"),
            "eventflow.runs.futures": ("FutureList",),
        },
    )
