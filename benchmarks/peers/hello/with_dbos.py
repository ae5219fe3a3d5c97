"""The shortest script: a workflow that calls a step, by DBOS."""

from dbos import DBOS


@DBOS.step()
def greet(name: str) -> str:
    """Make a greeting."""
    return f"Hello, {name}"


@DBOS.workflow()
def hello() -> str:
    """Greet the world."""
    return str(greet("world"))


if __name__ == "__main__":
    DBOS(config={"name": "hello", "system_database_url": "sqlite:///hello.sqlite"})
    DBOS.launch()
    hello()
    DBOS.destroy()
