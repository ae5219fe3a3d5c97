"""Hooks: as lists, as decorators, for flows and for tasks."""

from functools import partial

from prefect import flow, task
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.flows import Flow
from prefect.states import State


def report(flow: Flow, flow_run: FlowRun, state: State) -> None:
    print(f"{flow.name}: {state.name} {flow_run.parameters}")


def noted(note, task, task_run: TaskRun, state):
    print(f"{note} {task.name}: {state.is_completed()}")


async def slow(flow, flow_run, state):
    print("async", state.type.value)


@task(on_failure=[partial(noted, "!")], on_completion=[partial(noted, "+")])
def divide(a: int, b: int) -> float:
    return a / b


@task
def fine():
    return 1


@fine.on_completion
def told(tsk, run, state):
    print("fine:", state.result())


@flow(on_completion=[report, slow], on_failure=[report])
def job(b: int):
    fine()
    return divide(1, b)


@flow
def broken():
    raise KeyError("gone")


@broken.on_failure
def failed(flow, flow_run, state):
    raise RuntimeError("a hook that fails changes nothing")


if __name__ == "__main__":
    job(2)
    print(job(0, return_state=True).is_failed())
    print(broken(return_state=True).type.value)

# prints:
# fine: 1
# + divide: True
# job: Completed {'b': 2}
# async COMPLETED
# fine: 1
# ! divide: False
# job: Failed {'b': 0}
# True
# FAILED
