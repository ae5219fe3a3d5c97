"""One hook on several transitions, by state name or by state type."""

from eventflow import StateType, Task, TaskRun, flow, task
from eventflow.states import AnyState


@task(retries=1)
def divide(a: int, b: int) -> float:
    """Divide two numbers."""
    return a / b


@divide.on("AwaitingRetry", StateType.FAILED, StateType.CRASHED)
def watch(task: Task[..., float], run: TaskRun, state: AnyState) -> None:
    """Print what goes wrong."""
    print(f"{run.task_name}{tuple(run.parameters.values())} is {state.name}: {state.message}")


@flow
def sums() -> list[float]:
    """Divide, and leave out what cannot be divided."""
    states = [divide(1, b, return_state=True) for b in (2, 0, 4)]

    return [state.result() for state in states if state.is_completed()]


if __name__ == "__main__":
    print(sums())
