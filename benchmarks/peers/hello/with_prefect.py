"""The shortest script: a flow that calls a task, by Prefect."""

from prefect import flow, task


@task
def greet(name: str) -> str:
    """Make a greeting."""
    return f"Hello, {name}"


@flow
def hello() -> str:
    """Greet the world."""
    return str(greet("world"))


if __name__ == "__main__":
    hello()
