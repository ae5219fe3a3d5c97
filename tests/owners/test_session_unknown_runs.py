"""Runs that only this process knows: if others take it for dead, it goes on with their hooks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.errors import JournalError
from eventflow.hooks.declaration import Hook
from eventflow.journal.contract import RunQuery
from eventflow.journal.recorder import Recorder
from eventflow.journal.records import pack
from eventflow.journal.wal.turns import Turns
from eventflow.owners.session import OwnerSession
from eventflow.testing import Isolated
from eventflow.wiring import compose
from tests.journal.appended import commit_manually
from tests.journal.reading import statuses, the_recorder, the_run, written
from tests.owners.owning import session, work

A_RECORD = pack("E", ["01a2225c33ab703c93a72f093cd76184", "Told", 10**15, "{}"])


on_sqlite = pytest.mark.parametrize("own", ["process", "power"], indirect=True)
"""Where hooks begin before the journal has their run; a server has it before."""


@pytest.fixture
def begun(own: Isolated) -> list[str]:
    """Begin as an owner that the journal knows; return what hooks are to note."""
    compose(own.bus)
    the_recorder().sink.begin()
    commit_manually()
    work()
    written()

    return []


@pytest.fixture
def unknown(begun: list[str]) -> list[str]:
    """The same, for hooks that begin before the journal knows their run."""
    assert session().writer.durable != "committed"

    return begun


def take_over(owner: OwnerSession | None = None) -> None:
    """Have others take this process for dead, and have it notice that."""
    owner = owner or session()
    old = owner.owner
    owner.journal.end(old, "taken for dead")
    owner.writer.append(A_RECORD)
    owner.flush()
    assert owner.owner != old


def _call(hooked: Any) -> None:
    hooked()


def _submit(hooked: Any) -> None:
    flow(name="around")(lambda: hooked.submit().wait())()


def _map(hooked: Any) -> None:
    flow(name="around")(lambda: [future.wait() for future in hooked.map([1])])()


def _await(hooked: Any) -> None:
    asyncio.run(hooked())


def _assert_in_full(name: str, hooks: int) -> None:
    row = the_run(name)
    assert row.owner == the_recorder().owner_id
    assert (row.state_name, row.sequence) == ("Completed", 2)
    assert statuses(row.id) == [("Completed", "delivered", 1)] * hooks
    assert written().verify() == []


def _body(*_: object) -> None:
    """Do nothing."""


async def _abody() -> None:
    """Do nothing."""


WAYS: list[tuple[Any, Any, Callable[[Any], None]]] = [
    (flow, _body, _call),
    (task, _body, _call),
    (task, _body, _submit),
    (task, _body, _map),
    (flow, _abody, _await),
    (task, _abody, _await),
]


@on_sqlite
@pytest.mark.parametrize(("decorate", "body", "call"), WAYS)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_all_its_hooks_run(
    unknown: list[str], decorate: Any, body: Any, call: Callable[[Any], None], at: int
) -> None:
    """Whichever of them runs when this process is taken for dead."""

    def hook(number: int) -> Callable[..., None]:
        def run(*_: object) -> None:
            unknown.append(str(number))
            if number == at:
                take_over()

        return run

    hooks = [hook(number) for number in range(3)]
    call(decorate(name="hooked", on_completion=hooks)(body))

    assert unknown == ["0", "1", "2"]
    _assert_in_full("hooked", 3)


@pytest.mark.parametrize("recorded", ["nothing", "its beginning"])
@pytest.mark.parametrize("decorate", [flow, task])
def test_a_run_that_has_begun_is_recorded_in_full(
    begun: list[str], decorate: Any, recorded: str
) -> None:
    """Also if a commit that was refused had recorded its beginning."""

    def body() -> None:
        if recorded == "its beginning":
            the_recorder().record_open_runs()
        take_over()

    hooks = [lambda *_: begun.append("one"), lambda *_: begun.append("two")]
    decorate(name="hooked", on_completion=hooks)(body)()

    assert begun == ["one", "two"]
    _assert_in_full("hooked", 2)
    (row,) = written().runs(RunQuery(definition="hooked"))
    events = [event.state_name for event in written().events(row.id)]
    assert events == ["Pending", "Running", "Completed"]


@pytest.mark.parametrize("decorate", [flow, task])
def test_no_hook_of_a_run_that_others_know_runs(begun: list[str], decorate: Any) -> None:
    """They run its hooks: it was committed before this process was taken for dead."""

    def body() -> None:
        the_recorder().record_open_runs()
        written()
        take_over()

    decorate(name="known", on_completion=[lambda *_: begun.append("run")])(body)()

    assert begun == []
    assert the_run("known").state_name != "Completed"


@on_sqlite
def test_the_run_is_known_again_while_its_hook_runs(unknown: list[str]) -> None:
    """Whoever kills this process then has that hook run again, and no other."""

    def second(*_: object) -> None:
        take_over()
        run = the_run("hooked")
        assert run.owner == session().owner
        unknown.extend(status for _, status, _ in statuses(run.id))

    task(name="hooked", on_completion=[_body, second, _body])(_body)()

    assert unknown == ["delivered", "running", "pending"]


@on_sqlite
def test_the_outcomes_of_hooks_that_failed_are_kept(unknown: list[str]) -> None:
    """One that was dead stays so; one that is to be tried again is."""

    def fail(*_: object) -> None:
        raise ValueError("always")

    def fail_once(*_: object) -> None:
        unknown.append("tried")
        if len(unknown) == 1:
            take_over()
            raise ValueError("once")

    retried = Hook(fail_once, state="Completed", retries=1)
    task(name="hooked", on_completion=[fail, retried, _body])(_body)()

    assert unknown == ["tried", "tried"]
    assert statuses(the_run("hooked").id) == [
        ("Completed", "dead", 1),
        ("Completed", "delivered", 2),
        ("Completed", "delivered", 1),
    ]
    assert written().verify() == []


@on_sqlite
def test_a_journal_that_cannot_be_read_keeps_no_hook_from_running(
    unknown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather twice than not at all."""
    kind = type(session().journal)

    def fail(*_: object) -> None:
        raise JournalError("cannot be read")

    def first(*_: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(kind, "run", fail)
            take_over()

    task(name="hooked", on_completion=[first, lambda *_: unknown.append("two")])(_body)()

    assert unknown == ["two"]
    _assert_in_full("hooked", 2)


@on_sqlite
def test_a_hook_waits_until_it_is_known_whose_it_is(
    unknown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread notices the takeover, and has not gone on with the run yet."""
    resigning, asked = threading.Event(), threading.Event()
    go_on = Recorder.continue_from

    def go_on_later(recorder: Recorder, owner: str) -> None:
        resigning.set()
        assert asked.wait(30)
        go_on(recorder, owner)

    def wait_in_sight(turns: Turns) -> None:
        asked.set()
        wait(turns)

    wait = Turns.wait
    monkeypatch.setattr(Turns, "wait", wait_in_sight)
    monkeypatch.setattr(Recorder, "continue_from", go_on_later)
    thread = threading.Thread(target=take_over, args=[session()])

    def first(*_: object) -> None:
        thread.start()
        assert resigning.wait(30)
        # As if the first one had nothing to acknowledge: the next thing is to ask for the second.
        monkeypatch.setattr(Recorder, "settle", lambda *_, **__: None)

    def second(*_: object) -> None:
        unknown.append("two")

    task(name="hooked", on_completion=[first, second])(_body)()
    asked.set()
    thread.join()

    assert unknown == ["two"]


@on_sqlite
def test_an_outcome_that_is_noted_while_the_owner_changes_is_kept(unknown: list[str]) -> None:
    """It was stored where nobody reads any more."""
    writer: Any = session().writer
    acknowledge = writer.acknowledge

    def acknowledge_late(*progress: Any) -> object:
        del writer.acknowledge
        take_over()
        return acknowledge(*progress)

    def only(*_: object) -> None:
        writer.acknowledge = acknowledge_late

    task(name="hooked", on_completion=[only])(_body)()

    _assert_in_full("hooked", 1)
