"""Retries: a list of delays, a condition, and those of a flow."""

from prefect import flow, runtime, task
from prefect.states import State

calls = {"api": 0, "flow": 0, "denied": 0}


def is_worth_it(task, task_run, state: State) -> bool:
    try:
        state.result()
    except PermissionError:
        return False
    except Exception:
        return True


@task(retries=2, retry_delay_seconds=[0, 0.01], retry_condition_fn=is_worth_it)
def call_api() -> str:
    calls["api"] += 1
    if calls["api"] < 3:
        raise ConnectionError("no answer")
    return f"attempt {runtime.task_run.run_count}"


@task(retries=5, retry_condition_fn=is_worth_it)
def denied() -> None:
    calls["denied"] += 1
    raise PermissionError("no")


@flow(retries=1, retry_delay_seconds=0)
def patient() -> str:
    calls["flow"] += 1
    if calls["flow"] == 1:
        raise RuntimeError("once")
    return call_api()


@flow
def refused():
    denied()


if __name__ == "__main__":
    print(patient())
    state = refused(return_state=True)
    print(state.name, state.is_failed(), state.result(raise_on_failure=False))
    print(calls)

# prints:
# attempt 3
# Failed True no
# {'api': 3, 'flow': 2, 'denied': 1}
