"""Test a flow by the events it publishes; also runs as `pytest examples/08_testing.py`."""

from itertools import pairwise

from eventflow import flow, task
from eventflow.events import StateTransition
from eventflow.testing import capture_events, isolated


@task(retries=1)
def flaky(failures: list[Exception]) -> str:
    """Raise the failures, one a call, and then return."""
    if failures:
        raise failures.pop()

    return "done"


@flow
def job(failures: int) -> str:
    """Call the flaky task."""
    return flaky([OSError("no luck")] * failures)


def test_a_failure_is_retried() -> None:
    """After one failure the task is retried, and completes."""
    with isolated(), capture_events() as events:
        assert job(failures=1) == "done"

    transitions = [event for event in events if isinstance(event, StateTransition)]
    of_task = [event for event in transitions if event.run_type == "task"]
    names = [event.to_state.name for event in of_task]
    assert names == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]
    assert all(later.follows == event.id for event, later in pairwise(of_task))
    print(" -> ".join(names))


if __name__ == "__main__":
    test_a_failure_is_retried()
