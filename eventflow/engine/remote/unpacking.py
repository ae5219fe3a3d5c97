"""What a worker has returned: a result, or an exception with the traceback that it had there."""

from __future__ import annotations

import pickle
from typing import Any

from eventflow.engine.remote.attempts import PICKLED, RAISED, Outcome, Raised
from eventflow.runners.failures import RemoteError

__all__ = ["RemoteTraceback", "result_of"]


class RemoteTraceback(Exception):
    """The cause of an exception that a body raised on a worker: its traceback there, as a text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def result_of(outcome: Outcome) -> tuple[Any, BaseException | None]:
    """Return the result of a body, and what it raised instead; of the two one is None."""
    if outcome.how == PICKLED:
        try:
            return pickle.loads(outcome.value), None  # noqa: S301 - the executor's own future has it
        except Exception as error:  # noqa: BLE001 - a class may raise anything when it is unpickled
            kind = f"The result cannot be unpickled: {type(error).__name__}"
            return None, RemoteError(kind, str(error))
    if outcome.how == RAISED:
        return None, _exception(outcome.value)

    return outcome.value, None


def _exception(raised: Raised) -> BaseException:
    found: Any = None
    if raised.pickled is not None:
        try:
            found = pickle.loads(raised.pickled)  # noqa: S301 - the executor's own future has it
        except Exception:  # noqa: BLE001 - many exceptions cannot be made again from their arguments
            found = None
    is_found = isinstance(found, BaseException)
    error: BaseException = found if is_found else RemoteError(raised.kind, raised.message)
    error.__cause__ = RemoteTraceback(raised.traceback)

    return error
