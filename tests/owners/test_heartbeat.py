"""What an owner does beside its runs: it cancels on request, renews its lease, maintains."""

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
from eventflow.owners import heartbeat as heartbeat_module
from eventflow.owners.heartbeat import Heartbeat
from eventflow.settings import EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import isolated
from tests.journal.reading import statuses, the_recorder, the_run, written

INTERVAL = 0.001


class Calls:
    """Counts the calls of a heartbeat; each may be waited for, and may fail."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.changed = threading.Condition()
        self.effects: dict[str, Callable[[], object]] = {}

    def _call(self, name: str) -> None:
        with self.changed:
            self.names.append(name)
            self.changed.notify_all()
        self.effects.get(name, lambda: None)()

    def record(self) -> None:
        """Count it."""
        self._call("record")

    def cancels(self) -> list[UUID]:
        """Count it."""
        self._call("cancels")
        return []

    def guard(self) -> None:
        """Count it."""
        self._call("guard")

    def renew(self) -> None:
        """Count it."""
        self._call("renew")

    def maintain(self) -> None:
        """Count it."""
        self._call("maintain")

    def wait(self, name: str, times: int) -> None:
        """Wait until it was called as often."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.names.count(name) >= times, 30)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def heartbeat(calls: Calls) -> Iterator[Heartbeat]:
    """Return a heartbeat at short intervals, which is not started yet."""
    made = Heartbeat(
        record=calls.record,
        cancels=calls.cancels,
        guard=calls.guard,
        renew=calls.renew,
        maintain=calls.maintain,
        interval=INTERVAL,
        poll_seconds=INTERVAL,
    )
    yield made
    made.stop()


def test_a_stop_waits_for_maintenance_that_is_just_being_started(
    heartbeat: Heartbeat, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would work on the journal of a process that has ended."""
    stopping, started, stop = threading.Event(), heartbeat_module._started, heartbeat._stopped.set
    ended: list[str] = []

    def start_late(target: Callable[[], object], name: str) -> threading.Thread:
        if name == "eventflow-tending":
            assert stopping.wait(30)
        return started(target, name)

    def stop_and_tell() -> None:
        stop()
        stopping.set()

    def maintain() -> None:
        threading.Event().wait(0.2)
        ended.append("maintain")

    monkeypatch.setattr(heartbeat_module, "_started", start_late)
    monkeypatch.setattr(heartbeat._stopped, "set", stop_and_tell)
    monkeypatch.setattr(heartbeat, "_maintain", maintain)
    heartbeat.start()
    heartbeat.stop()

    assert ended == ["maintain"]


def test_a_heartbeat_renews_and_maintains_until_it_is_stopped(
    heartbeat: Heartbeat, calls: Calls
) -> None:
    """Maintenance comes first; nothing is called, and no thread is left, afterwards."""
    before = set(threading.enumerate())
    heartbeat.start()
    calls.wait("renew", 3)
    calls.wait("maintain", 3)
    heartbeat.stop()
    names = list(calls.names)
    assert names[0] == "maintain"
    started = set(threading.enumerate()) - before
    assert {thread.name for thread in started}.isdisjoint({"eventflow-owner", "eventflow-tending"})
    heartbeat.stop()
    assert calls.names == names


def test_the_guardian_is_looked_after_without_any_run(heartbeat: Heartbeat, calls: Calls) -> None:
    """Also when nothing executes, and again after an error."""
    calls.effects["guard"] = lambda: 1 / 0
    heartbeat.start()

    calls.wait("guard", 3)

    assert "cancels" not in calls.names


def test_a_lease_is_renewed_during_long_maintenance(heartbeat: Heartbeat, calls: Calls) -> None:
    """However long that takes, it runs once at a time, beside the rest."""
    go_on = threading.Event()
    calls.effects["maintain"] = lambda: go_on.wait(60)
    heartbeat.start()
    calls.wait("maintain", 1)
    calls.wait("renew", 5)
    assert calls.names.count("maintain") == 1
    go_on.set()
    calls.wait("maintain", 2)


@pytest.mark.parametrize("error", [JournalError("gone"), OSError("gone"), ValueError("gone")])
def test_a_call_that_fails_is_logged_once_and_repeated(
    heartbeat: Heartbeat, calls: Calls, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises, the other calls go on."""

    def fail() -> None:
        raise error

    calls.effects = {"maintain": fail, "renew": fail}
    heartbeat.start()
    calls.wait("renew", 3)
    calls.wait("maintain", 3)
    assert caplog.text.count("gone") == 1


def test_a_lease_that_could_not_be_renewed_is_renewed_soon(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only after the whole interval, in which others would take this owner for dead."""
    now = [0.0]
    monkeypatch.setattr("eventflow.owners.heartbeat.time.monotonic", lambda: now[0])
    asked: list[float] = []

    def renew() -> None:
        asked.append(now[0])
        if len(asked) < 3:
            raise JournalError("gone")

    heartbeat = Heartbeat(
        record=calls.record,
        cancels=calls.cancels,
        renew=renew,
        maintain=calls.maintain,
        guard=calls.guard,
        interval=100.0,
    )

    class Ticks:
        """Lets half a second pass each time, and ends after 203 s."""

        def wait(self, _: float) -> bool:
            now[0] += 0.5
            return now[0] > 203.0

        def set(self) -> None:
            pass

    monkeypatch.setattr(heartbeat, "_stopped", Ticks())
    heartbeat._run()

    assert asked == [100.0, 101.0, 102.0, 202.0]


# -- cancellations ---------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    """Use a bus whose journal other processes can open."""
    made = f"sqlite:///{tmp_path}/journal.db"
    if request.param == "postgresql":
        made = request.getfixturevalue("postgres_url")
    with temporary_settings({EVENTFLOW_JOURNAL_URL: made}), isolated():
        yield made


def ask(url: str, run_id: UUID) -> None:
    """Request the cancellation of a run as another process would."""
    assert the_recorder().flush()
    journal = open_journal(url)
    assert journal.ask_cancel(run_id)
    journal.close()


class Stopped:
    """A flow with a child that never ends, executed in one of several ways."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.begun = threading.Event()

    def body(self) -> None:
        """Wait for ever; in a thread of the pool in steps, between which it can be stopped."""
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
        """Run the flow and return its final state."""
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
    """Wherever the body is; its children are cancelled first, and hooks are called."""
    hooked: list[str] = []
    stopped = Stopped(way)
    hook(state=["Cancelling", "Cancelled"])(
        lambda definition, _run, state: hooked.append(f"{definition.name} {state.name}")
    )

    def ask_when_it_runs() -> None:
        assert stopped.begun.wait(30)
        ask(url, the_run("main").id)

    asker = threading.Thread(target=contextvars.copy_context().run, args=(ask_when_it_runs,))
    asker.start()
    state = stopped.run()
    asker.join()

    assert state.is_cancelled()
    assert sorted(hooked) == sorted(
        f"{name} {state}" for name in ("child", "main") for state in ("Cancelling", "Cancelled")
    )
    assert hooked.index("child Cancelled") < hooked.index("main Cancelled")
    assert {status for _, status, _ in statuses()} == {"delivered"}
    assert written().cancels(the_recorder().owner_id) == []
    assert written().verify() == []


def test_a_request_for_a_run_that_has_ended_is_refused(url: str) -> None:
    """And so is one for a run that does not exist."""
    done = task(name="done")(lambda: runtime.task_run.id)
    run_id = UUID(done())
    assert not written().ask_cancel(run_id)
    assert not written().ask_cancel(UUID(int=0))
