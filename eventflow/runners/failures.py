"""What goes wrong between home and workers, as errors that say what was lost or cannot be sent."""

from __future__ import annotations

from typing import Any

from eventflow.errors import EventflowError

__all__ = ["RemoteError", "UnpicklableError", "WorkerLostError", "WorkersFailedError"]


class _RemoteFailure(EventflowError):
    """The base class: such an error may itself be sent from one process to another."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self.args, vars(self))


def _made_again(
    kind: type[_RemoteFailure], args: tuple[Any, ...], attributes: dict[str, Any]
) -> _RemoteFailure:
    made = kind.__new__(kind)
    made.args = args
    vars(made).update(attributes)

    return made


class WorkerLostError(_RemoteFailure):
    """The worker process that executed an attempt ended before the attempt did."""

    def __init__(self, host: str, pid: int) -> None:
        super().__init__(
            f"The worker that executed the body, process {pid} on {host}, ended before the body "
            "did: it was killed, ran out of memory, or exited."
        )
        self.host = host
        self.pid = pid


class WorkersFailedError(_RemoteFailure):
    """Workers end again and again before an attempt can begin on one."""

    def __init__(self, runner: str, count: int, reason: str) -> None:
        super().__init__(
            f"The workers of {runner} ended {count} times in a row before any attempt could begin; "
            f"the last time: {reason}. Their standard error says why. A script that starts worker "
            'processes needs `if __name__ == "__main__":` around what it calls.'
        )


class UnpicklableError(_RemoteFailure, TypeError):
    """Something cannot be pickled that has to be sent to another process."""

    def __init__(self, what: str, error: BaseException) -> None:
        super().__init__(
            f"{what} cannot be pickled, which is needed to send it to another process: "
            f"{type(error).__name__}: {error}"
        )


class RemoteError(_RemoteFailure):
    """Stands for an exception of a body on a worker that cannot be pickled, or not unpickled."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
