"""How far hooks are is acknowledged in the record of their run, or told of once that is taken."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflow import Hook, flow, runtime, task
from eventflow.hooks.ledger import OWED
from eventflow.journal.contract import DeliveryQuery
from eventflow.journal.recorder import Recorder
from eventflow.journal.records import Acknowledged, Settled
from eventflow.settings import EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import isolated
from tests.journal.appended import flush_elsewhere, kinds, of_kind, run_records, spans
from tests.journal.reading import owed, statuses, the_recorder, the_run, written

pytestmark = pytest.mark.usefixtures("manual_commits")

Deed = Callable[[], object]


def nothing() -> None:
    """Be a hook, or a body."""


def hooks_of(state: str, *deeds: Deed) -> list[Hook]:
    """Make a hook of each function."""
    return [
        Hook(lambda *_, deed=deed: deed(), state=state, id=f"{state}-{number}")
        for number, deed in enumerate(deeds)
    ]


def progress() -> tuple[int, int, int]:
    """Return how many hooks are owed, have begun and are done, in the newest record of a run."""
    record = run_records()[-1]

    return record.owed, record.begun, record.done


def acknowledged() -> list[tuple[int, int, int]]:
    """Return the same of the records of acknowledgements."""
    return [Acknowledged(*content)[2:5] for content in of_kind("A")]


def test_hooks_are_acknowledged_in_place() -> None:
    """Nothing else is appended, and each counts as begun by its own byte only."""
    during: list[tuple[int, int, int]] = []

    def note() -> None:
        during.append(progress())

    task(hooks=hooks_of("Completed", note, note, note))(lambda: 1)()
    assert during == [(3, 1, 0), (3, 2, 1), (3, 3, 2)]
    assert progress() == (3, 3, 3)
    assert kinds() == "DHHLR"
    assert statuses() == [("Completed", "delivered", 1)] * 3


@pytest.mark.parametrize("flush", [flush_elsewhere, lambda: the_recorder().flush()])
def test_a_committer_that_was_first_has_acknowledgements_of_their_own(flush: Deed) -> None:
    """From the hook on in which the record was taken; no delivery has a record of its own."""
    task(hooks=hooks_of("Completed", nothing, flush, nothing))(lambda: 1)()
    assert progress()[0] == 3
    assert acknowledged() == [(3, 2, 2), (3, 3, 2), (3, 3, 3)]
    assert of_kind("S") == []
    assert statuses() == [("Completed", "delivered", 1)] * 3
    assert len({row.updated for row in owed()}) == 1
    assert written().verify() == []


def test_what_was_taken_does_not_say_that_the_next_hook_has_begun() -> None:
    """It may not have been, if the process dies now."""
    seen: list[Any] = []

    def look() -> None:
        flush_elsewhere()
        seen.append(statuses())

    task(hooks=hooks_of("Completed", look, look))(lambda: 1)()
    waiting, begun, done = (
        ("Completed", *what) for what in (("pending", 0), ("running", 1), ("delivered", 1))
    )
    assert seen == [[begun, waiting], [done, begun]]


def test_a_hook_that_fails_has_a_record_of_its_own() -> None:
    """So have those behind it; all of them are right, whatever becomes of it."""
    outcomes = iter([ValueError("no"), None, ValueError("never")])

    def fail_somehow() -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome

    hooks = hooks_of("Completed", nothing, fail_somehow, fail_somehow, nothing)
    hooks[1] = Hook(hooks[1].fn, state="Completed", retries=1, id="retried")
    task(hooks=hooks)(lambda: 1)()
    told = [Settled(*content) for content in of_kind("S")]
    assert [(each.ordinal, each.status, each.attempts) for each in told] == [
        *((1, "failed", 1), (1, "running", 2), (1, "delivered", 2)),
        *((2, "running", 1), (2, "dead", 1)),
        *((3, "running", 1), (3, "delivered", 1)),
    ]
    assert acknowledged()[-1] == (4, 4, 4)
    assert statuses() == [
        ("Completed", *what)
        for what in (("delivered", 1), ("delivered", 2), ("dead", 1), ("delivered", 1))
    ]
    assert written().verify() == []


@pytest.mark.parametrize("at", ["nowhere", "Running-0", "Running-1", "body", "Completed-0"])
@pytest.mark.parametrize("decorator", [flow, task])
def test_hooks_of_running_and_of_the_end(decorator: Any, at: str) -> None:
    """Each is delivered once, wherever a commit comes; what began the end tells of the first."""

    def commit_at(place: str) -> Deed:
        return flush_elsewhere if at == place else nothing

    def hooks(state: str) -> list[Hook]:
        return hooks_of(state, commit_at(f"{state}-0"), commit_at(f"{state}-1"))

    body = commit_at("body")
    decorator(hooks=[*hooks("Running"), *hooks("Completed")])(body)()
    assert spans()[-2:] == [(0, 1), (2, 2)]
    assert of_kind("S") == []
    assert statuses() == [("Running", "delivered", 1)] * 2 + [("Completed", "delivered", 1)] * 2
    assert [row.ordinal for row in owed()] == [0, 1, 0, 1]
    assert written().verify() == []


@pytest.mark.parametrize("commits", [True, False])
def test_an_interrupted_hook_of_running(commits: bool) -> None:
    """It stays owed; the other hooks, and those of the crash, are delivered."""

    def interrupt() -> None:
        if commits:
            flush_elsewhere()
        raise KeyboardInterrupt

    hooks = [*hooks_of("Running", nothing, interrupt, nothing), *hooks_of("Crashed", nothing)]
    with pytest.raises(KeyboardInterrupt):
        task(hooks=hooks)(lambda: 1)()
    assert statuses() == [
        ("Running", "delivered", 1),
        ("Running", "failed", 1),
        ("Running", "delivered", 1),
        ("Crashed", "delivered", 1),
    ]
    assert written().verify() == []


def test_a_hook_whose_outcome_is_unknown_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt came before it could be recorded; the next transition tells of it."""
    settle = Recorder.settle
    interrupts = iter([KeyboardInterrupt()])

    def interrupted(recorder: Recorder, *args: Any, **kwargs: Any) -> None:
        for interrupt in interrupts:
            raise interrupt
        settle(recorder, *args, **kwargs)

    monkeypatch.setattr(Recorder, "settle", interrupted)
    hooks = [*hooks_of("Running", nothing), *hooks_of("Crashed", nothing)]
    with pytest.raises(KeyboardInterrupt):
        task(hooks=hooks)(lambda: 1)()
    assert statuses() == [("Running", "running", 1), ("Crashed", "delivered", 1)]


@pytest.mark.parametrize("commits", [True, False])
def test_more_hooks_than_a_record_can_count(commits: bool) -> None:
    """Before each hook, also one that no record of a run counts, the journal knows of all."""
    calls: list[int] = []
    before: list[Any] = []

    def call() -> None:
        if not calls or len(calls) == 255:
            before.append([status for _, status, _ in statuses()] if commits else [])
        calls.append(runtime.hook.attempt)

    def fail() -> None:
        call()
        raise ValueError

    deeds = [call] * 256
    hooks = [*hooks_of("Completed", *deeds), *hooks_of("Completed", fail, call)]
    task(hooks=hooks)(lambda: 1)()
    assert len(calls) == 258
    if commits:
        waiting, done = ["pending"] * 2, ["delivered"]
        assert before == [
            ["running", *["pending"] * 257],
            [*done * 255, "running", *waiting],
        ]
    rows = owed()
    assert [row.ordinal for row in rows] == list(range(258))
    assert [str(row.status) for row in rows] == [*["delivered"] * 256, "dead", "delivered"]
    assert written().verify() == []


def test_hooks_that_a_record_cannot_count_are_owed_when_the_others_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if the process dies just then: they have records of their own from the beginning."""
    settle, left = Recorder.settle, iter(range(509))

    def until_it_dies(*args: Any, **kwargs: Any) -> None:
        # The first beginning is in the record of the run: 254 more, and 255 ends.
        if next(left, None) is not None:
            settle(*args, **kwargs)

    monkeypatch.setattr(Recorder, "settle", until_it_dies)
    task(hooks=hooks_of("Completed", *[bool] * 257))(lambda: 1)()
    assert statuses()[254:] == [
        ("Completed", "delivered", 1),
        *[("Completed", "pending", 0)] * 2,
    ]
    assert [row.ordinal for row in written().deliveries(DeliveryQuery(statuses=OWED))] == [255, 256]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_is_forked_within_a_hook_acknowledges_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The hook is the parent's, which goes on; in the child that is no error."""
    parent = os.getpid()

    def fork() -> None:
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            assert statuses() == [("Completed", "running", 1)]

    task(on_completion=[lambda *_: fork()])(lambda: 1)()
    if os.getpid() != parent:
        os._exit(len(caplog.records))
    assert statuses() == [("Completed", "delivered", 1)]


OUTCOMES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=4)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(running=OUTCOMES, ending=OUTCOMES, commits=st.lists(st.booleans(), min_size=1, max_size=9))
def test_whatever_becomes_of_hooks_is_known_at_any_moment(
    running: Sequence[tuple[int, int]],
    ending: Sequence[tuple[int, int]],
    commits: Sequence[bool],
) -> None:
    """In each attempt the journal knows of those before, of this one, and of those to come.

    Each hook fails so many times, and is retried so many times; commits come before some attempts.
    """
    committing = itertools.cycle(commits)
    past: list[tuple[str, str, int]] = []

    def make(state: str, number: int, fails: int, retries: int, others: int) -> Hook:
        def attempt(*_: Any) -> None:
            count = runtime.hook.attempt
            if next(committing):
                present = [(state, "running", count), *[(state, "pending", 0)] * others]
                assert statuses() == past + present
            if count <= fails:
                if count > retries:
                    past.append((state, "dead", count))
                raise ValueError
            past.append((state, "delivered", count))

        return Hook(attempt, state=state, retries=retries, id=f"{state}-{number}")

    with temporary_settings({EVENTFLOW_JOURNAL_URL: "memory://"}), isolated():
        hooks = [
            make(state, number, *outcome, len(outcomes) - number - 1)
            for state, outcomes in (("Running", running), ("Completed", ending))
            for number, outcome in enumerate(outcomes)
        ]
        task(hooks=hooks, name="it")(lambda: 1)()
        assert statuses() == past
        assert len(past) == len(hooks)
        assert the_run("it").state_name == "Completed"
        assert written().verify() == []
