"""Pickling definitions: by reference, as functions are, or by value where cloudpickle does it."""

from __future__ import annotations

import importlib
import pickle
import sys
from typing import Any

from eventflow.hooks.references import place_of, resolve

__all__ = ["rebound", "reduced"]


def reduced(definition: Any, protocol: int) -> Any:
    """Return what pickle keeps of a definition: where it is found, and what it is bound to.

    Raises:
        pickle.PicklingError: no variable of a module leads to the definition.
    """
    if _is_asked_by_cloudpickle():
        return object.__reduce_ex__(definition, protocol)
    origin = definition.origin
    if definition is not origin:
        return rebound, (origin, getattr(definition.fn, "__self__", None))
    place = place_of(origin)
    if place is None:
        raise pickle.PicklingError(
            f"{definition!r} cannot be pickled, since no name in a module leads to it, by which "
            "another process could find it. Define it at the top level of a module."
        )

    return _found, place


def _is_asked_by_cloudpickle() -> bool:
    """Return whether the pickler is cloudpickle's, whose purpose is to need no module there.

    It asks from C code, so the frame is the nearest to tell. Its copies in other packages
    (joblib, pyspark, ray) have its name within theirs.
    """
    asking = sys._getframe(3).f_globals.get("__name__", "")  # noqa: SLF001 - there is no other way

    return "cloudpickle" in asking


def rebound(origin: Any, bound_to: Any) -> Any:
    """Return a definition bound to an object or a class, as by attribute access."""
    if isinstance(origin.fn, classmethod | staticmethod):
        return origin.bound(None, bound_to or object)

    return origin.bound(bound_to, type(bound_to))


def _found(module: str, path: str) -> Any:
    """Return the definition to which a pickled reference leads.

    Raises:
        pickle.UnpicklingError: the module has no such definition.
    """
    definition = getattr(resolve(importlib.import_module(module), path), "origin", None)
    if definition is None:
        raise pickle.UnpicklingError(
            f"A flow or a task was pickled as {module}:{path}, but in this process that leads to "
            "none. Define it at the top level of a module that both processes import."
        )

    return definition
