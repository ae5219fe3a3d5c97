"""Publishers wait where records are not durable at once, and hooks are guarded before they run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventflow import Hook, flow, hook, runtime, task
from eventflow.errors import JournalError
from eventflow.journal.contract import RunQuery
from eventflow.journal.wal.writer import Writer
from eventflow.owners.session import OwnerSession
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import isolated
from tests.journal.appended import commit_manually, spans
from tests.journal.reading import statuses, the_recorder, the_run, written
from tests.journal.scenes import double, seen


@pytest.fixture(params=["power"])
def waits(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Any]]:
    """Return what was appended at each wait of a publisher, with one kind of journal."""
    seen_at: list[Any] = []
    wait = Writer.wait

    def noted(writer: Writer) -> bool:
        seen_at.append(spans()[-1])
        return wait(writer)

    monkeypatch.setattr(Writer, "wait", noted)
    values: dict[Any, object] = {EVENTFLOW_DURABILITY: "process"}
    if request.param == "memory":
        values[EVENTFLOW_JOURNAL_URL] = "memory://"
    else:
        values[EVENTFLOW_DURABILITY] = request.param
    with temporary_settings(values), isolated(tmp_path / "own"):
        yield seen_at


def test_a_publisher_waits_before_hooks_run(waits: list[Any]) -> None:
    """With hooks, and before the body of a run whose crash has some; not at all without."""
    during: list[Any] = []

    def note(*_: Any) -> None:
        during.append([*waits])

    task(on_completion=[note])(lambda: 1)()
    assert (waits, during) == ([(0, 2)], [[(0, 2)]])
    waits.clear()
    flow(on_crashed=[seen], on_completion=[note])(lambda: 1)()
    assert (waits, during[1:]) == ([(0, 1), (2, 2)], [[(0, 1), (2, 2)]])
    waits.clear()
    double(1)
    flow(lambda: double(1))()
    assert waits == []


@pytest.mark.parametrize("waits", ["memory", "process"], indirect=True)
def test_where_records_are_durable_at_once_nobody_waits(waits: list[Any]) -> None:
    """Or where they never are."""
    flow(on_crashed=[seen], on_completion=[seen])(lambda: 1)()
    assert waits == []
    assert statuses() == [("Completed", "delivered", 1)]


def test_async_code_waits_without_blocking_its_loop(
    waits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread waits while the loop runs, and the hook runs afterwards."""
    order: list[str] = []
    loop_thread = threading.current_thread()

    def wait_for_the_loop(_: Writer) -> bool:
        assert threading.current_thread() is not loop_thread
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        assert turned.wait(30)
        order.append("waited")
        return True

    @flow(on_crashed=[seen], on_completion=[lambda *_: order.append("hook")])
    async def main() -> None:
        order.append("body")

    monkeypatch.setattr(Writer, "wait", wait_for_the_loop)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    assert order == ["waited", "body", "waited", "hook"]


# -- guarding --------------------------------------------------------------------------------


class Guard:
    """A guard that counts how often it is asked for."""

    def __init__(self) -> None:
        self.guards = 0
        self.handed_over: dict[str, str] = {}

    def guard(self) -> None:
        self.guards += 1

    def hand_over(self, key: str, hook: Hook, reason: str) -> None:
        assert reason
        self.handed_over[key] = hook.id

    def let_go(self, key: str) -> None:
        self.handed_over.pop(key)

    def dismiss(self) -> None: ...

    def replace_if_killed(self) -> None: ...


def the_session() -> OwnerSession:
    sink = the_recorder().sink
    assert isinstance(sink, OwnerSession)

    return sink


@pytest.mark.usefixtures("manual_commits")
def test_hooks_are_guarded_again_only_if_they_change() -> None:
    """At the first run of a definition, and when one is added; before the body of the run."""
    guard = Guard()
    the_session().guarding = guard  # type: ignore[assignment]
    during: list[int] = []
    declared = flow(name="main", on_completion=[seen])(lambda: during.append(guard.guards))
    declared()
    declared()
    assert during == [1, 1]
    declared.on_failure(seen)
    declared()
    assert during[2:] == [2]
    hook(state="Failed")(seen)
    declared()
    double(1)
    assert during[3:] == [3]
    assert guard.guards == 3
    assert guard.handed_over == {}


@pytest.mark.usefixtures("manual_commits")
def test_a_new_owner_has_its_hooks_guarded_itself() -> None:
    """Those of the definition, and those for all runs, in the name of that owner."""
    hook(state="Failed")(seen)
    declared = flow(name="main", on_completion=[lambda *_: None])(lambda: 1)
    declared()
    resign()
    guard = Guard()
    the_session().guarding = guard  # type: ignore[assignment]
    declared()
    assert guard.guards == 2
    assert len(guard.handed_over) == 1
    row, *_ = written().runs(RunQuery())
    assert {row.hooks, row.global_hooks} == {*written().hook_sets(row.owner)}


# -- owners that change ----------------------------------------------------------------------


def resign() -> None:
    """Have this process be another owner, as if others had taken over the runs of this one."""
    the_session().resign(the_session().owner)
    commit_manually()


@pytest.mark.usefixtures("manual_commits")
def test_nothing_is_recorded_of_a_run_that_was_taken_over() -> None:
    """Neither transitions nor outcomes of hooks, and there is no transaction."""
    refused: list[str] = []

    def taken_over(_flow: Any, run: Any, _state: Any) -> None:
        assert not the_recorder().has_given_up(run)
        assert written().runs(RunQuery(unfinished=True)) != []
        resign()
        with pytest.raises(JournalError, match="taken over by another process"):
            runtime.hook.transaction()
        refused.append("asked")

    flow(name="main", on_running=[taken_over, seen], on_completion=[seen])(lambda: 1)()
    assert refused == ["asked"]
    assert the_run("main").state_name == "Running"
    assert statuses() == [("Running", "running", 1), ("Running", "pending", 0)]


class WithLock:
    """The lock of a session, of which a test says what happens before it is taken next."""

    def __init__(self) -> None:
        session = the_session()
        self._lock: Any = session.turns.lock
        self.before: Callable[[], object] | None = None
        session.turns.lock = self  # type: ignore[assignment]

    def __enter__(self) -> None:
        before, self.before = self.before, None
        if before is not None:
            before()
        self._lock.__enter__()

    def __exit__(self, *details: object) -> None:
        self._lock.__exit__(*details)


@pytest.mark.usefixtures("manual_commits")
def test_a_run_may_be_given_up_while_a_record_of_it_is_made() -> None:
    """It is not written in the name of the new owner, and neither is the outcome of a hook."""
    lock = WithLock()

    @flow(name="in_body")
    def in_body() -> None:
        written()
        lock.before = resign

    def hook_taken_over(*_: Any) -> None:
        written()
        lock.before = resign

    in_body()
    assert the_run("in_body").state_name == "Running"
    flow(name="in_hook", on_running=[hook_taken_over])(lambda: 1)()
    assert the_run("in_hook").state_name == "Running"
    assert statuses(the_run("in_hook").id) == [("Running", "running", 1)]


@pytest.mark.usefixtures("manual_commits")
@pytest.mark.parametrize("when", ["now", "at the lock"])
def test_what_no_record_tells_of_may_be_written_by_a_new_owner(when: str) -> None:
    """Nothing of the run was written by the old one, so that it is not given up."""
    lock = WithLock()
    old = the_recorder().owner_id

    @task
    def unrecorded() -> None:
        if when == "now":
            resign()
        else:
            lock.before = resign

    unrecorded()
    row = the_run("unrecorded")
    assert row.owner == the_recorder().owner_id != old
    assert (row.state_name, row.sequence) == ("Completed", 2)
    assert written().verify() == []
