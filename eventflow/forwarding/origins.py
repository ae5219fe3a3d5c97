"""The origin of events: by its id a program knows those again that it has sent itself."""

from __future__ import annotations

from hashlib import blake2b

from eventflow.owners.process import host_id
from eventflow.settings import EVENTFLOW_HOME

__all__ = ["own_origin"]


def own_origin() -> str:
    """Return the id of this home on this host."""
    place = f"{host_id()}\n{EVENTFLOW_HOME.value()}"

    return blake2b(place.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
