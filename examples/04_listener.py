"""A listener gets every event that its filter selects, whichever flow or task it comes from."""

from eventflow import StateTransition, bus, flow, task


@bus.subscribe(run_type="task", state=["Completed", "Failed"])
def measure(event: StateTransition) -> None:
    """Print how long an attempt took: the event has the duration."""
    print(f"{event.definition_name} {event.to_state.name} in {event.duration:.6f} s")


@task
def extract() -> list[int]:
    """Get some numbers."""
    return [1, 2, 3]


@task
def load(numbers: list[int]) -> int:
    """Put them somewhere."""
    return len(numbers)


@flow
def etl() -> int:
    """Move numbers around."""
    return load(extract())


if __name__ == "__main__":
    print(etl())

    with bus.subscribe(lambda event: print(event.type), run_type="flow"):
        etl()
