"""Tasks that the tests of runners submit; workers import them by this name."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventflow import bus, get_run_logger, runtime, task
from eventflow.events import Event


class Counted(Event, frozen=True):
    """An own event of a body."""

    number: int


class FailsUnpickling(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class Unpicklable(Exception):
    """Holds what no other process can have."""

    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


@task
def add(one: int, other: int = 1) -> int:
    return one + other


@task
def process() -> int:
    return os.getpid()


@task
def length(value: Any) -> int:
    return len(value)


@task
def repeated(value: bytes, times: int) -> bytes:
    return value * times


@task
def doubled(values: list[int]) -> list[int]:
    return [2 * value for value in values]


@task
def count_to(number: int) -> int:
    for each in range(number):
        bus.publish(Counted(number=each))
    return number


@task
def say(text: str) -> None:
    get_run_logger(colour="red").warning("heard %s", text)
    logging.getLogger("elsewhere").warning("seen %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        get_run_logger().exception("failed")


@task(log_prints=True)
def speak(text: str) -> None:
    print(text, "aloud")


@task(tags={"own"})
def facts(value: int) -> dict[str, Any]:
    return {
        "task_run": runtime.task_run.id,
        "name": runtime.task_run.name,
        "tags": runtime.task_run.tags,
        "parameters": runtime.task_run.parameters,
        "run_count": runtime.task_run.run_count,
        "flow_run": runtime.flow_run.id,
        "flow": runtime.flow_run.flow_name,
        "flow_run_name": runtime.flow_run.name,
        "flow_parameters": runtime.flow_run.parameters,
    }


@task
def fail(make: Callable[..., Exception], *args: str) -> None:
    raise make(*args)


@task
def leave(code: int) -> None:
    raise SystemExit(code)


@task
def returns_lock() -> Any:
    return threading.Lock()


@task
def submits() -> int:
    return add.submit(1).result()


@task
def calls() -> int:
    return add(1) + add(2)


@task(retries=2)
def fails_first(folder: Path) -> int:
    """Fail the first two times."""
    attempt = len(list(folder.glob("[0-9]")))
    (folder / str(attempt)).touch()
    if attempt < 2:
        raise ValueError(f"attempt {attempt}")
    return attempt


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    while not path.exists():
        time.sleep(0.005)


@task
def wait_long(folder: Path) -> None:
    """Tell of the beginning, and of the end by an exception, in files."""
    try:
        (folder / "began").touch()
        wait_for(folder / "never")
    except BaseException as error:
        (folder / "stopped").write_text(type(error).__name__)
        raise


@task
def meet(folder: Path, name: str, awaited: str, until: str = "") -> int:
    """Note the process under a name, and wait for another name."""
    with (folder / f"{name}.pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    (folder / name).touch()
    wait_for(folder / awaited)
    if until:
        wait_for(folder / until)
    return os.getpid()


class Adder:
    """An object with a task."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    @task
    def add(self, value: int) -> int:
        return self.offset + value
