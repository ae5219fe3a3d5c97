"""A process that others took for dead: it writes no more of its runs, and begins others anew."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

from eventflow import bus, flow, runtime
from eventflow.errors import JournalError
from eventflow.events import JournalFailed
from eventflow.journal.contract import Fence, Group, RunQuery
from eventflow.journal.records import pack
from eventflow.journal.wal.status import Status
from eventflow.owners.session import OwnerSession
from eventflow.testing import Isolated
from tests.journal.reading import statuses, the_recorder, the_run, written
from tests.owners.owning import folders, session, work

A_RECORD = pack("E", ["01a2225c33ab703c93a72f093cd76184", "Told", 10**15, "{}"])


@pytest.mark.parametrize("finds", ["renew", "write"])
def test_an_owner_that_was_ended_by_others_writes_no_more_of_its_runs(
    own: Isolated, finds: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Others took its runs over: it acknowledges nothing, and new runs have a new owner."""
    owners: list[Any] = []
    noticed = threading.Event()
    bus.subscribe(lambda _: noticed.set(), event_type=JournalFailed)

    def owes(*_: Any) -> None:
        old = the_recorder().owner_id
        journal = written()
        journal.end(old, "taken for dead")
        if finds == "renew":
            session().lease_seconds = 5.0
            session().renew()
        else:
            work()
            the_recorder().flush()
            assert noticed.wait(30)
        with pytest.raises(JournalError, match="taken over by another"):
            runtime.hook.transaction()
        owners.append(old)

    @flow(on_running=[owes])
    def main() -> int:
        return work()

    assert main() == 1
    _assert_new_owner(*owners)
    assert caplog.text.count("silent for too long") == 1


def _assert_new_owner(old: str) -> None:
    the_recorder().flush()
    row = the_run("main")
    assert the_recorder().owner_id != old
    assert (row.owner, row.state_name, row.sequence) == (old, "Running", 1)
    assert statuses(row.id) == [("Running", "running", 1)]
    (last, *_) = written().runs(RunQuery(definition="work"))
    assert (last.owner, last.state_name) == (the_recorder().owner_id, "Completed")
    assert [row.id for row in written().owners(alive=True)] == [the_recorder().owner_id]
    assert {problem.kind for problem in written().verify()} <= {"abandoned"}
    assert folders() == [the_recorder().owner_id]


def test_waiting_records_are_not_written_under_another_owner(own: Isolated) -> None:
    """They are lost, however late it is noticed that their owner was ended by others."""
    work()
    journal, old = written(), the_recorder().owner_id
    owner = session()
    owner.writer.spool = None  # as without a folder
    groups: list[Group] = []
    owner.writer.append(A_RECORD)
    journal.end(old, "taken for dead")
    commit = journal.commit

    def note(group: Group, owner: str, fence: Fence | None = None) -> None:
        commit(group, owner, fence)
        groups.append(group)

    journal.commit = note  # type: ignore[method-assign]
    owner.lease_seconds = 5.0
    owner.renew()
    assert the_recorder().owner_id != old
    assert groups == []
    work()
    assert the_recorder().flush()
    assert groups


@pytest.mark.parametrize("noticed", ["by itself", "by another thread"])
def test_a_run_that_begins_after_the_takeover_is_run_in_full(
    own: Isolated, noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else knows it: its hooks run here, and it is recorded in the name of a new owner.

    That is so from the moment that a refused commit is known, whoever tells of it later.
    """
    work()
    owner, old = session(), the_recorder().owner_id
    written().end(old, "taken for dead")
    refused, told = threading.Event(), threading.Event()
    report = Status.report

    def report_later(status: Status) -> None:
        if threading.current_thread() is not main and owner.owner != old:
            refused.set()
            assert told.wait(30)
        report(status)

    main = threading.current_thread()
    monkeypatch.setattr(Status, "report", report_later)
    calls: list[Any] = []
    thread = threading.Thread(target=_write_and_flush, args=(session(),))
    # Where records are durable before they are committed, it does not notice anything by itself.
    if noticed == "by another thread" or session().writer.durable != "committed":
        thread.start()
        assert refused.wait(30)
    flow(name="begun", on_completion=[lambda *_: calls.append("completed")])(work)()
    told.set()
    if thread.ident is not None:
        thread.join()

    row = the_run("begun")
    assert calls == ["completed"]
    assert (row.owner, row.state_name, row.sequence) == (the_recorder().owner_id, "Completed", 2)
    assert row.owner != old
    assert statuses(row.id) == [("Completed", "delivered", 1)]
    assert written().verify() == []


def test_nothing_is_left_behind_of_the_writer_of_a_former_owner(own: Isolated) -> None:
    """Neither its thread nor its segments, which are mapped files."""
    before = threading.enumerate()
    work()
    journal, old, writer = written(), session().owner, session().writer
    started = [thread for thread in threading.enumerate() if thread not in before]
    former = [thread for thread in started if thread.name == "eventflow-journal"]
    assert former
    assert writer.segment is not None
    segment = weakref.ref(writer.segment)
    journal.end(old, "taken for dead")
    _write_and_flush(session())
    for thread in former:
        thread.join(30)

    assert session().owner != old
    assert not any(thread.is_alive() for thread in former)
    del writer
    gc.collect()
    assert segment() is None
    work()
    assert folders() == [the_recorder().owner_id]


def _write_and_flush(owner: OwnerSession) -> None:
    owner.writer.append(A_RECORD)
    owner.flush()
