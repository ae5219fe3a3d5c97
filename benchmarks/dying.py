"""A program that dies in a flow with a hook, and leaves both to a recovery."""

from __future__ import annotations

import os
import signal

from benchmarks.calls import hook
from eventflow import flow
from eventflow.testing import flush

__all__ = ["dies"]


@flow(on_crashed=[hook])
def dies() -> None:
    """Kill this process."""
    flush()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    dies()
