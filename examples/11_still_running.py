"""Hooks for what does not happen: a state goes on for too long, or a run has not ended in time."""

import time
from typing import Any

from eventflow import State, flow, task


def page(definition: Any, run: Any, state: State[Any]) -> None:
    """Tell somebody, while the run goes on; real limits are minutes or hours."""
    print(f"{definition.name} is still {state.name}")


@task
def extract() -> int:
    """Take longer than anybody wants."""
    time.sleep(0.6)
    return 7


# For this long in this state, each time that a run enters it.
extract.on("Running", lasting=0.2)(page)


# From the beginning of its first attempt to the end of the run, retries and waits included.
@flow(on_overdue=[page], overdue_seconds=0.4)
def nightly() -> int:
    """Wait for the task."""
    return extract()


@nightly.on_end
def tell(flow: Any, run: Any, state: State[Any]) -> None:
    """Run at every end, whichever it is."""
    print(f"{flow.name} is {state.name}")


if __name__ == "__main__":
    nightly()
