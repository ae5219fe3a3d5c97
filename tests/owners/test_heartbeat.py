"""What an owner does beside its runs: it hears of cancellations, keeps its lease, looks around."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from eventflow import flow, hook, runtime, task
from eventflow.errors import JournalError
from eventflow.journal import open_journal
from eventflow.owners.heartbeat import Heartbeat
from eventflow.settings import EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import isolated
from tests.journal.reading import statuses, the_recorder, the_run, written


class Ticks:
    """Duties that are noted down; each may be waited for, and may fail."""

    def __init__(self, lease_seconds: float | None) -> None:
        self.lease_seconds = lease_seconds
        self.did: list[str] = []
        self.counted = threading.Condition()
        self.fails: dict[str, Callable[[], object]] = {}

    def _do(self, what: str) -> None:
        with self.counted:
            self.did.append(what)
            self.counted.notify_all()
        self.fails.get(what, lambda: None)()

    def cancels(self) -> list[UUID]:
        """Note it."""
        self._do("cancels")
        return []

    def renew(self) -> None:
        """Note it."""
        self._do("renew")

    def sweep_and_prune(self) -> None:
        """Note it."""
        self._do("look")

    def wait(self, what: str, times: int) -> None:
        """Wait until it was done as often."""
        with self.counted:
            assert self.counted.wait_for(lambda: self.did.count(what) >= times, 30)


@pytest.fixture
def attending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Ticks], Heartbeat]]:
    """Give a function that begins an attendance with short turns."""
    monkeypatch.setattr("eventflow.owners.heartbeat.TURN_SECONDS", 0.001)
    begun: list[Heartbeat] = []

    def begin(ticks: Ticks) -> Heartbeat:
        begun.append(Heartbeat(ticks))
        begun[-1].start()
        return begun[-1]

    yield begin
    for one in begun:
        one.stop()


def test_a_lease_is_renewed_and_the_dead_are_looked_for(attending: Any) -> None:
    """At the beginning, and three times within each lease; when it is stopped, no more."""
    ticks = Ticks(0.003)
    one = attending(ticks)
    ticks.wait("renew", 3)
    ticks.wait("look", 3)
    one.stop()
    done = list(ticks.did)
    assert done[0] == "look"
    assert not [name for name in map(_name, threading.enumerate()) if name in _NAMES]
    one.stop()
    assert ticks.did == done


_NAMES = {"eventflow-owner", "eventflow-tending"}


def _name(thread: threading.Thread) -> str:
    return thread.name


def test_a_lease_is_renewed_while_there_is_much_to_tidy(attending: Any) -> None:
    """However long it takes: it is done once at a time, beside the rest."""
    ticks, go_on = Ticks(0.003), threading.Event()
    ticks.fails["look"] = lambda: go_on.wait(60)
    attending(ticks)
    ticks.wait("look", 1)
    ticks.wait("renew", 5)
    assert ticks.did.count("look") == 1
    go_on.set()
    ticks.wait("look", 2)


def test_without_a_lease_is_looked_after_the_size(
    attending: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again: a process may run for months."""
    monkeypatch.setattr("eventflow.owners.heartbeat.LOOK_SECONDS", 0.002)
    ticks = Ticks(None)
    attending(ticks)
    ticks.wait("look", 3)


@pytest.mark.parametrize("error", [JournalError("gone"), OSError("gone"), ValueError("gone")])
def test_a_duty_that_fails_is_said_once_and_tried_again(
    attending: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises, the others are done."""

    def fail() -> None:
        raise error

    ticks = Ticks(0.003)
    ticks.fails = {"look": fail, "renew": fail}
    attending(ticks)
    ticks.wait("renew", 3)
    ticks.wait("look", 3)
    assert caplog.text.count("gone") == 1


# -- cancellations ---------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    """Put a bus in force whose journal others can open."""
    found = f"sqlite:///{tmp_path}/journal.db"
    if request.param == "postgresql":
        found = request.getfixturevalue("postgres_url")
    with temporary_settings({EVENTFLOW_JOURNAL_URL: found}), isolated():
        yield found


def ask(url: str, run_id: UUID) -> None:
    """Ask for a run's cancellation as another process would."""
    assert the_recorder().flush()
    journal = open_journal(url)
    assert journal.ask_cancel(run_id)
    journal.close()


class Stopped:
    """A flow with a child that would never end; each way it is executed is another one."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.begun = threading.Event()

    def body(self) -> None:
        """Wait for ever; in a thread of the pool step by step, as nothing else stops it there."""
        self.begun.set()
        while self.way == "submitted":
            threading.Event().wait(0.001)
        threading.Event().wait(60)

    def busy(self) -> None:
        """Compute for ever."""
        self.begun.set()
        while True:
            pass

    async def abody(self) -> None:
        """Await for ever."""
        self.begun.set()
        await asyncio.Event().wait()

    def run(self) -> Any:
        """Give the state in which the flow ends."""
        child = task(name="child")(self.busy if self.way == "busy" else self.body)

        def main() -> None:
            if self.way == "submitted":
                child.submit()
            else:
                child()

        async def amain() -> None:
            await task(name="child")(self.abody)()

        if self.way == "async":
            return asyncio.run(flow(name="main")(amain)(return_state=True))

        return flow(name="main")(main)(return_state=True)


@pytest.mark.parametrize("way", ["sync", "async", "busy", "submitted"])
def test_a_request_in_the_journal_stops_a_run(url: str, way: str) -> None:
    """From wherever it comes and wherever the body stands; its children and hooks are told."""
    told: list[str] = []
    stopped = Stopped(way)
    hook(state=["Cancelling", "Cancelled"])(
        lambda definition, _run, state: told.append(f"{definition.name} {state.name}")
    )

    def ask_when_it_runs() -> None:
        assert stopped.begun.wait(30)
        ask(url, the_run("main").id)

    asker = threading.Thread(target=contextvars.copy_context().run, args=(ask_when_it_runs,))
    asker.start()
    state = stopped.run()
    asker.join()

    assert state.is_cancelled
    assert sorted(told) == sorted(
        f"{name} {state}" for name in ("child", "main") for state in ("Cancelling", "Cancelled")
    )
    assert told.index("child Cancelled") < told.index("main Cancelled")
    assert {one for _, one, _ in statuses()} == {"delivered"}
    assert written().cancels(the_recorder().owner_id) == []
    assert written().verify() == []


def test_a_request_for_what_has_ended_is_refused(url: str) -> None:
    """And one for a run that nobody knows."""
    done = task(name="done")(lambda: runtime.task_run.id)
    run_id = UUID(done())
    assert not written().ask_cancel(run_id)
    assert not written().ask_cancel(UUID(int=0))
