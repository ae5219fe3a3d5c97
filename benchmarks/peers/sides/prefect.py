"""Prefect's side; an environment variable sets the server it talks to.

With a server kept running, which is the fair case, the heartbeat of flow runs is off: a flow run
ends no sooner than the thread of its heartbeat, which sleeps for whole seconds.
"""

from __future__ import annotations

import os
from time import perf_counter_ns

from prefect import flow, task
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from benchmarks.peers.serving import serve, timed


def hook(definition: object, run: object, state: object) -> None:
    """Do nothing with a state."""


@task(on_completion=[hook])
def work(number: int) -> int:
    """Do next to nothing."""
    return number


@flow
def direct(count: int) -> int:
    """Call so many tasks."""
    begin = perf_counter_ns()
    for number in range(count):
        work(number)

    return perf_counter_ns() - begin


@flow
def submitted(count: int) -> int:
    """Submit so many tasks at once, and wait for their results."""
    begin = perf_counter_ns()
    for future in [work.submit(number) for number in range(count)]:
        future.result()

    return perf_counter_ns() - begin


@flow(on_completion=[hook])
def empty() -> None:
    """Do nothing, with a hook."""


def empty_flows(count: int) -> None:
    """Run so many flows."""
    for _ in range(count):
        empty()


if __name__ == "__main__":
    fair = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if "PREFECT_API_URL" in os.environ else {}
    with temporary_settings(fair):
        serve(
            {"task.direct": direct, "task.submitted": submitted, "flow.empty": timed(empty_flows)}
        )
