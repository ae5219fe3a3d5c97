"""A task that fails twice and is retried, after the delays that it declares."""

from eventflow import Task, TaskRun, flow, runtime, task
from eventflow.states import AnyState


def tell(task: Task[..., str], run: TaskRun, state: AnyState) -> None:
    """Print the end; a hook of this kind runs once, after the last retry."""
    print(f"{run.task_name} is {state.name} after {run.run_count} attempts")


@task(retries=3, retry_delay_seconds=[0.05, 0.1, 0.2], on_completion=[tell])
def fetch(url: str) -> str:
    """Fetch a page from a server that is not up yet."""
    attempt = runtime.task_run.run_count
    print(f"attempt {attempt}")
    if attempt < 3:
        raise ConnectionError(f"{url} does not answer")

    return "<html>"


@flow
def read() -> str:
    """Read one page."""
    return fetch("https://example.com")


if __name__ == "__main__":
    print(read())
