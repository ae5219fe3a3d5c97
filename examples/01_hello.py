"""A flow that calls a task: plain functions, called like plain functions."""

from eventflow import flow, task


@task
def greet(name: str) -> str:
    """Make a greeting."""
    return f"Hello, {name}!"


@flow
def hello(names: list[str]) -> int:
    """Greet everybody; returns how many there are."""
    for name in names:
        print(greet(name))

    return len(names)


if __name__ == "__main__":
    print(hello(["Ada", "Grace"]), "greeted")
