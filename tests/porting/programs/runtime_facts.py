"""Runtime: what a run knows of itself, and names made of it."""

from prefect import flow, runtime, tags, task
from prefect.runtime import flow_run, task_run


def named() -> str:
    return f"{flow_run.flow_name}-{flow_run.parameters['day']}"


def task_named():
    return f"{task_run.task_name} {task_run.parameters['part']}"


@task(task_run_name=task_named, tags={"part"})
def work(part: str) -> str:
    return f"{task_run.name} of {flow_run.name}, {sorted(task_run.tags)}, {task_run.run_count}"


@flow(flow_run_name=named)
def report(day: str):
    print(work("header"))
    child()
    assert runtime.flow_run.id == flow_run.root_flow_run_id
    print(runtime.flow_run.tags, flow_run.parent_flow_run_id)


@flow(flow_run_name="child-of-it")
def child():
    print(flow_run.name, flow_run.parent_flow_run_id is not None)


if __name__ == "__main__":
    with tags("daily"):
        report(day="monday")
    print(runtime.flow_run.id, runtime.flow_run.parameters)

# prints:
# work header of report-monday, ['daily', 'part'], 1
# child-of-it True
# ['daily'] None
# None {}
