"""What was logged in a run and in all that it called, in the order of time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from eventflow import flow, get_run_logger, task
from eventflow.client import LogRecord, get_client
from eventflow.client.archive import Archive
from eventflow.client.run_logs import RunLogs
from eventflow.journal import open_journal
from eventflow.journal.contract import Journal
from eventflow.journal.stores import writing
from tests.journal.logged import line, lines
from tests.journal.rows import AT, NOW, SECOND, a_completed_run, commit


@pytest.fixture
def memory() -> Iterator[Journal]:
    journal = open_journal("memory://")
    yield journal
    journal.close()


def told(logs: RunLogs) -> list[str]:
    """Return what comes next, with how many lines are left out before it."""
    return [f"{each.left_out or ''}{each.message}" for each in logs.lines()]


def test_lines_come_in_the_order_of_time(memory: Journal) -> None:
    """Those of the run and of all that it called, or of itself only, or from a level on."""
    run, records = a_completed_run()
    child, more = a_completed_run(parent=run)
    other, others = a_completed_run()
    commit(memory, records, more, others, lines(other, "other"))
    commit(memory, line(run, "a"), line(run, "d", at=AT + 3 * SECOND, level=40))
    commit(memory, line(child, "b", at=AT + SECOND, level=30), line(child, "c", at=AT + 2 * SECOND))
    archive = Archive(memory)

    assert told(RunLogs(archive, run.id)) == ["a", "b", "c", "d"]
    assert told(RunLogs(archive, run.id, own=True)) == ["a", "d"]
    assert told(RunLogs(archive, run.id, level=30)) == ["b", "d"]
    assert told(RunLogs(archive, child.id)) == ["b", "c"]
    assert told(RunLogs(archive, uuid4())) == []


def test_lines_of_a_run_stay_in_their_order(memory: Journal) -> None:
    """Its clock may have been set back."""
    run, records = a_completed_run()
    child, more = a_completed_run(parent=run)
    commit(memory, records, more, line(run, "a", at=AT + 9 * SECOND), line(run, "b", at=AT))
    commit(memory, line(child, "c", at=AT + SECOND))

    assert told(RunLogs(Archive(memory), run.id)) == ["c", "a", "b"]


def test_each_line_comes_once(memory: Journal) -> None:
    """What is logged between two readings comes with the second one."""
    run, records = a_completed_run()
    commit(memory, records, lines(run, "a"))
    logs = RunLogs(Archive(memory), run.id)
    assert told(logs) == ["a"]
    assert told(logs) == []

    child, more = a_completed_run(parent=run)
    commit(memory, more, lines(run, "b"), lines(child, *range(500)))

    assert sorted(told(logs)) == sorted(["b", *map(str, range(500))])
    assert told(logs) == []


def test_it_is_told_how_many_lines_are_left_out(
    memory: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a line, or behind the last one; each of them once."""
    monkeypatch.setattr(writing, "FIRST_LINES", 1)
    monkeypatch.setattr(writing, "LAST_LINES", 2)
    run, records = a_completed_run()
    commit(memory, records, lines(run, *"abcdef"))
    logs = RunLogs(Archive(memory), run.id)
    assert told(logs) == ["a", "3e", "f"]
    assert logs.left_out == {}

    commit(memory, lines(run, "g"), line(run, "h", skipped=4), line(run, "i", level=10))
    assert told(logs) == ["5h", "i"]

    commit(memory, lines(run, "j"))
    memory.transact(lambda session: writing.trim_lines(session, 0))  # type: ignore[attr-defined]
    assert told(logs) == []
    assert logs.left_out == {run.id: 1}
    assert told(logs) == []
    assert logs.left_out == {}


@pytest.mark.usefixtures("eventflow_isolated")
def test_a_client_reads_what_was_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Without a flush: of a run in this process, by its id, in any of its forms."""
    caplog.set_level("INFO", "eventflow")
    ids: list[Any] = []

    @task
    def step() -> None:
        get_run_logger().error("step", exc_info=ValueError("no"))

    @flow(on_completion=[lambda flow, run, state: ids.append(run.id)])
    async def main() -> None:
        get_run_logger().info("begin")
        step()
        get_run_logger().info("end")

    async def read() -> list[list[LogRecord]]:
        await main()
        async with get_client() as client:
            return [
                await client.read_logs(ids[0]),
                await client.read_logs(str(ids[0]), own=True),
                await client.read_logs(ids[0], level="error"),
                await client.read_logs(ids[0], limit=1),
                await client.read_logs(uuid4()),
            ]

    everything, own, errors, last, nothing = asyncio.run(read())

    assert [each.message for each in everything] == ["begin", "step", "end"]
    assert own == [everything[0], everything[2]]
    assert errors == [everything[1]]
    assert last == [everything[2]]
    assert nothing == []
    begin, step_line, _ = everything
    assert (begin.run_id, begin.sequence, begin.level, begin.level_name) == (ids[0], 1, 20, "INFO")
    assert (begin.logger, begin.traceback) == ("eventflow.flow_runs", None)
    assert begin.timestamp.utcoffset() == timedelta(0)
    assert begin.timestamp > NOW
    assert step_line.run_id != ids[0]
    assert str(step_line.traceback).endswith("ValueError: no")
    assert LogRecord.model_validate_json(begin.model_dump_json()) == begin


@pytest.mark.usefixtures("eventflow_isolated")
def test_a_level_that_does_not_exist_is_refused() -> None:
    """And an id that is none."""

    async def read(**given: Any) -> None:
        async with get_client() as client:
            await client.read_logs(**{"run_id": uuid4(), **given})

    with pytest.raises(ValueError, match="There is no level 'LOUD'; use DEBUG, INFO, WARNING"):
        asyncio.run(read(level="LOUD"))
    with pytest.raises(ValueError, match="badly formed"):
        asyncio.run(read(run_id="x"))
