"""Runs that have not ended are recorded before a commit, at whatever moment it comes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from eventflow import flow, hook, task
from eventflow.eventbus.bus import current_bus
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import RunQuery
from eventflow.journal.encoder import RunEncoder
from eventflow.journal.recorder import Recorder
from eventflow.primitives.ids import event_number, new_number
from eventflow.runs import lazy_states
from eventflow.runs import run as run_module
from eventflow.states import Completed
from eventflow.testing import capture_events
from eventflow.wiring import detach
from tests.journal.appended import flush_elsewhere, run_records, spans, the_writer
from tests.journal.reading import compare_with_events, owed, the_recorder, the_run, written
from tests.journal.scenes import SCENES, adouble, double, seen

pytestmark = pytest.mark.usefixtures("manual_commits")
ENDS = ["Completed", "Failed", "TimedOut", "Crashed", "Cancelled"]
SlowCommit: TypeAlias = tuple[threading.Thread, threading.Event, threading.Event]


def test_a_run_that_executes_is_recorded_before_a_commit() -> None:
    """Once, as far as it came; what follows continues it."""

    @task
    def work() -> str:
        assert spans() == []
        first = the_run("work")
        assert the_run("work") == first
        return first.state_name

    assert work() == "Running"
    assert spans() == [(0, 1), (2, 2)]
    assert [event.sequence for event in written().events(the_run("work").id)] == [0, 1, 2]
    assert written().verify() == []


def test_parameters_are_recorded_as_they_were_at_running() -> None:
    """Whatever the body has made of them before the commit."""

    @task
    def spoil(words: list[str], number: int) -> None:
        words.append("spoilt")
        assert the_run("spoil").parameters == '[{"words":["fresh"],"number":1}]'

    spoil(["fresh"], 1)
    assert the_run("spoil").parameters == '[{"words":["fresh"],"number":1}]'


def test_a_run_that_waits_is_recorded_without_parameters() -> None:
    """They are told of when they are known."""
    release = threading.Event()

    @task
    def first() -> int:
        release.wait(60)
        return 20

    @flow
    def parent() -> None:
        upstream: Any = first.submit()
        later = double.submit(upstream)
        waiting = the_run("double")
        assert (waiting.state_name, waiting.parameters) == ("Pending", None)
        release.set()
        assert later.result() == 40

    parent()
    row = the_run("double")
    assert (row.state_name, row.parameters) == ("Completed", '[{"number":20}]')
    assert {record.first for record in run_records() if record.run == row.id.int} == {0, 1, 2}


@pytest.fixture(params=[0, 1, "write"])
def commits_at_each_record(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Commit in another thread whenever a run has entered a state that is not recorded yet.

    From its first transition on, or from its second; or just before it is written. Returns the
    sequences of these.
    """
    record, write, sequences = Recorder.record, Recorder._write, []

    def write_later(recorder: Recorder, run: Any, last: int, *args: Any) -> bool:
        if len(args) == 3:  # with whom it is owed to: it is the run's own thread
            sequences.append(last)
            flush_elsewhere()
        return write(recorder, run, last, *args)

    if request.param == "write":
        monkeypatch.setattr(Recorder, "_write", write_later)
        return sequences

    def record_later(recorder: Recorder, fact: Any, *args: Any, **kwargs: Any) -> bool:
        if fact.sequence >= request.param:
            sequences.append(fact.sequence)
            flush_elsewhere()
        return record(recorder, fact, *args, **kwargs)

    monkeypatch.setattr(Recorder, "record", record_later)

    return sequences


@pytest.mark.parametrize("owed_states", [[], ENDS, ["Running", *ENDS], ["Pending", *ENDS]])
@pytest.mark.parametrize("scene", SCENES)
def test_a_commit_while_a_run_enters_a_state_changes_nothing(
    scene: str, owed_states: list[str], commits_at_each_record: list[int]
) -> None:
    """Neither its events nor the hooks that it owes then are lost, or told of twice."""
    play, runs = SCENES[scene]
    called: list[str] = []
    if owed_states:
        hook(state=owed_states)(lambda _, run, state: called.append(f"{run.id} {state.id}"))
    # Without a listener, for which each transition would be recorded at once.
    play()
    assert commits_at_each_record
    rows = written().runs(RunQuery())
    assert len(rows) == runs
    for row in rows:
        events = written().events(row.id)
        assert [event.sequence for event in events] == list(range(row.sequence + 1))
        assert (events[-1].id, events[-1].state_name) == (row.state_id, row.state_name)
    assert written().verify() == []
    assert {(row.status, row.attempts) for row in owed()} <= {(DeliveryStatus.DELIVERED, 1)}
    assert sorted(called) == sorted(f"{row.run_id} {row.event_id}" for row in owed())


def test_a_commit_while_a_run_enters_a_state_without_listeners(
    commits_at_each_record: list[int],
) -> None:
    """That transition is left to its own thread."""
    double(1)
    asyncio.run(adouble(1))
    assert commits_at_each_record in ([0, 1, 2] * 2, [1, 2] * 2, [2] * 2)
    assert spans() == [(0, 2)] * 2
    assert written().verify() == []


def test_a_run_that_was_entering_a_state_is_recorded_before_the_next_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A commit that came at the wrong moment leaves it to the next one, which it asks for."""

    def commit() -> None:
        flush_elsewhere()
        the_writer().notified = False

    at_record(monkeypatch, 1, before=commit)

    @task
    def work() -> str:
        assert the_writer().notified
        return the_run("work").state_name

    assert work() == "Running"


@pytest.fixture(params=["encode"])
def slow_commit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SlowCommit:
    """Return a thread that commits, and two events.

    It sets the first before it makes, or uses, the encoder of a run, and then waits for the second.
    """
    method: Any = getattr(RunEncoder, request.param)
    encoding, go_on, recorder = threading.Event(), threading.Event(), the_recorder()
    thread = threading.Thread(target=recorder.flush)

    def slowly(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is thread:
            encoding.set()
            assert go_on.wait(60)
        return method(*args, **kwargs)

    monkeypatch.setattr(RunEncoder, request.param, slowly)

    return thread, encoding, go_on


def at_record(
    patch: pytest.MonkeyPatch,
    sequence: int,
    before: Callable[[], object] = bool,
    after: Callable[[], object] = bool,
) -> None:
    """Have something happen before and after this transition is handed to the recorder."""
    record = Recorder.record

    def watched(recorder: Recorder, fact: Any, *args: Any, **kwargs: Any) -> bool:
        if fact.sequence == sequence:
            before()
        waits = record(recorder, fact, *args, **kwargs)
        if fact.sequence == sequence:
            after()
        return waits

    patch.setattr(Recorder, "record", watched)


class Telling:
    """A parameter that sets an event when it is recorded."""

    def __init__(self, told: threading.Event) -> None:
        self.told = told

    def __repr__(self) -> str:
        self.told.set()
        return "telling"


@pytest.mark.parametrize("slow_commit", ["__init__"], indirect=True)
def test_a_run_that_begins_while_a_commit_records_it_goes_on_from_there(
    slow_commit: SlowCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit has its first transition, its own thread records how it began."""
    thread, encoding, go_on = slow_commit

    def begin_commit() -> None:
        thread.start()
        assert encoding.wait(60)

    at_record(monkeypatch, 0, after=begin_commit)

    @task
    def work(telling: Telling) -> str:
        return the_run("work").state_name

    assert work(Telling(go_on)) == "Running"
    thread.join(60)
    assert spans() == [(0, 0), (1, 1), (2, 2)]
    row = the_run("work")
    assert row.sequence == 2
    assert str(row.parameters).startswith('[{"telling":"telling"}')
    assert [event.sequence for event in written().events(row.id)] == [0, 1, 2]
    assert written().verify() == []


def test_a_run_that_ends_while_a_commit_records_it_goes_on_from_there(
    slow_commit: SlowCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is in the next record, with the hooks that are owed it."""
    thread, encoding, go_on = slow_commit
    at_record(monkeypatch, 2, before=go_on.set)

    @task(on_completion=[seen])
    def work() -> None:
        thread.start()
        assert encoding.wait(60)

    work()
    thread.join(60)
    assert spans() == [(0, 1), (2, 2)]
    row = the_run("work")
    assert (row.state_name, row.ended) == ("Completed", row.state_at)
    assert [str(each.status) for each in owed()] == ["delivered"]
    assert written().verify() == []


def test_runs_that_begin_in_another_order_than_they_were_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever began first: each is recorded before a commit."""
    numbers: Iterator[int] = iter([new_number() + 2**90, new_number()])
    monkeypatch.setattr(run_module, "new_number", lambda: next(numbers))

    @task
    def made_first() -> str:
        return the_run("made_first").state_name

    @task
    def made_later() -> str:
        assert the_run("made_later").state_name == "Running"
        return made_first()

    assert made_later() == "Running"


@pytest.mark.parametrize("commits", ["once", "meanwhile"])
@pytest.mark.parametrize("decorator", [flow, task])
def test_a_hand_made_state_keeps_its_id(decorator: Any, commits: str) -> None:
    """It has its own, which does not follow from that of the run."""

    @decorator(name="returns_it")
    def returns_it() -> Any:
        if commits == "meanwhile":
            the_recorder().flush()
        return Completed(message="made by hand", data=7)

    with capture_events() as events:
        state = returns_it(return_state=True)
    row = the_run("returns_it")
    assert (row.state_id, row.message, row.state_at) == (state.id, state.message, state.timestamp)
    assert written().events(row.id)[-1].id == events[-1].id == state.id
    assert state.id.int != event_number(row.id.int, row.sequence)
    assert compare_with_events(events) == 1


def test_a_run_whose_clock_was_set_back_took_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is it negative, nor does it hide that the run has ended."""
    moments = iter([2 * 10**18, 10**18 + 10**9, 10**18])
    monkeypatch.setattr(lazy_states, "time_ns", lambda: next(moments))
    double(1)
    row = the_run("double")
    assert row.seconds == 0
    assert row.ended == row.state_at
    assert row.state_at < row.created
    assert [event.sequence for event in written().events(row.id)] == [0, 1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_does_not_record_what_its_parent_executes() -> None:
    """Neither a task that has begun, nor what is left of it: the parent does, in its own name."""

    @task
    def work() -> None:
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        else:
            double(1)
            detach(current_bus())
            os._exit(0)

    work()
    row = the_run("work")
    assert (row.owner, row.state_name, row.sequence) == (the_recorder().owner_id, "Completed", 2)
    assert [event.sequence for event in written().events(row.id)] == [0, 1, 2]
    (of_child,) = written().runs(RunQuery(definition="double"))
    assert of_child.owner != row.owner
    assert of_child.parent_run_id == row.id
    assert written().verify() == []
