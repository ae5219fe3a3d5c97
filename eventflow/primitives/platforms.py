"""What is missing on a platform, said where eventflow is imported."""

from __future__ import annotations

__all__ = ["missing_on"]


def missing_on(platform: str) -> str | None:
    """Return what eventflow does not do on a platform, by the name in `sys.platform`."""
    if platform != "win32":
        return None

    return (
        "eventflow is not tested on Windows. There is no guardian: if this process is killed, the "
        "hooks it owes run by `eventflow recover`; a timeout does not interrupt a blocking call."
    )
