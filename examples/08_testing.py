"""Test a flow by the events it publishes; also runs as `pytest examples/08_testing.py`."""

from itertools import pairwise

from eventflow import flow, task
from eventflow.events import StateTransition
from eventflow.testing import capture_events, isolated


@task(retries=1)
def flaky(failures: list[Exception]) -> str:
    """Fail as often as it is told to."""
    if failures:
        raise failures.pop()

    return "done"


@flow
def job(failures: int) -> str:
    """Do the flaky thing."""
    return flaky([OSError("no luck")] * failures)


def test_a_failure_is_tried_again() -> None:
    """One failure is survived: the task is seen to take the long road."""
    with isolated(), capture_events() as events:
        assert job(failures=1) == "done"

    road = [one for one in events if isinstance(one, StateTransition) and one.run_type == "task"]
    names = [event.to_state.name for event in road]
    assert names == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]
    assert all(later.follows == event.id for event, later in pairwise(road))
    print(" -> ".join(names))


if __name__ == "__main__":
    test_a_failure_is_tried_again()
