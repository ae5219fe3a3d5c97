"""DBOS's side: steps of a workflow, which it records in SQLite; it has no hooks."""

from __future__ import annotations

import logging
from time import perf_counter_ns

from dbos import DBOS, DBOSConfig

from benchmarks.peers.serving import serve, timed

CONFIG: DBOSConfig = {
    "name": "peers",
    "system_database_url": "sqlite:///peers.sqlite",
    "log_level": logging.getLevelName(logging.WARNING),
    "run_admin_server": False,
}


@DBOS.step()
def work(number: int) -> int:
    """Do next to nothing."""
    return number


@DBOS.workflow()
def direct(count: int) -> int:
    """Run so many steps."""
    begin = perf_counter_ns()
    for number in range(count):
        work(number)

    return perf_counter_ns() - begin


@DBOS.workflow()
def empty() -> None:
    """Do nothing."""


def empty_workflows(count: int) -> None:
    """Run so many workflows."""
    for _ in range(count):
        empty()


if __name__ == "__main__":
    DBOS(config=CONFIG)
    DBOS.launch()
    serve({"task.direct": direct, "flow.empty": timed(empty_workflows)})
    DBOS.destroy()
