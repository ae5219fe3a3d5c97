"""`eventflow recover`: dead owners are recovered, once or until it is stopped."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from eventflow import settings
from eventflow.cli.commands import recover as command
from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.interrupts.waiting import until_stopped
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery
from eventflow.recovery.owner import Report
from tests.cli.conftest import Invoke, Spawn
from tests.cli.sample_journal import OWNER, Sample, fill


def test_a_dead_owner_is_recovered(spawn: Spawn, tmp_path: Path) -> None:
    """In a process of its own: its run is Crashed, and its deliveries are made or dead."""
    url = settings.EVENTFLOW_JOURNAL_URL.value()
    journal = open_journal(url)
    story = fill(journal)
    dead = journal.deliveries(DeliveryQuery(hook="alerts:page"))
    journal.redrive([delivery.id for delivery in dead])
    journal.end(OWNER, "vanished")
    process = spawn("recover", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    (report,) = json.loads(out)
    assert (report["owner"], report["crashed"], report["problem"]) == (OWNER, 1, None)
    row = journal.run(story.running)
    assert row is not None
    assert row.state_name == "Crashed"
    (delivery,) = journal.deliveries(DeliveryQuery(hook="alerts:page"))
    # Its hook cannot be imported: the delivery is dead again, and not lost.
    assert delivery.status is DeliveryStatus.DEAD
    journal.close()


REPORTS = [
    Report("owner-1", "host-1", 4711, crashed=1, delivered=2, dead=1),
    Report("owner-2", "host-2", 4712, problem="the journal cannot be written"),
]


def test_reports_are_printed(
    invoke: Invoke, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row for each owner; one that is left ends with 3."""
    monkeypatch.setattr(command, "recover_all", lambda url: REPORTS)
    result = invoke("recover")
    assert result.exit_code == 3
    head, first, second = (line.split(maxsplit=6) for line in result.stdout.splitlines())
    assert head == ["PROCESS", "CRASHED", "DELIVERED", "DEAD", "OUTCOME"]
    assert first == ["4711", "on", "host-1", "1", "2", "1", "see: eventflow deliveries ls"]
    assert second == ["4712", "on", "host-2", "0", "0", "0", "the journal cannot be written"]


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([Report("a", "here", 1, crashed=1)], 0),
        ([Report("a", "here", 1, dead=1), Report("b", "here", 2)], 1),
        ([Report("a", "here", 1, dead=1), Report("b", problem="kept")], 3),
    ],
)
def test_the_exit_code_tells_what_is_left(
    invoke: Invoke,
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
    reports: list[Report],
    code: int,
) -> None:
    """Nothing, dead deliveries, or owners; the same for programs."""
    monkeypatch.setattr(command, "recover_all", lambda url: reports)
    assert invoke("recover").exit_code == code
    assert invoke("recover", "--json").exit_code == code


def test_nothing_to_recover_is_said(invoke: Invoke, sample: Sample) -> None:
    """The process in the journal counts as alive."""
    result = invoke("recover")
    assert (result.exit_code, result.stdout) == (0, "No dead process has left anything behind.\n")


def test_watching_goes_on_through_errors_until_it_is_stopped(
    invoke: Invoke, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error is printed once, each report when it comes; Ctrl-C ends it with 0."""
    answers: list[Any] = [JournalError("down"), JournalError("down"), REPORTS, [REPORTS[1]]]

    def answer(url: str) -> list[Report]:
        if not answers:
            signal.raise_signal(signal.SIGINT)
            return []
        next_answer = answers.pop(0)
        if isinstance(next_answer, JournalError):
            raise next_answer
        return list(next_answer)

    monkeypatch.setattr(command, "recover_all", answer)
    result = invoke("recover", "--watch", "--every", "0.001", "--json")
    assert result.exit_code == 0
    assert result.stderr == "down\n"
    owners = [json.loads(line)["owner"] for line in result.stdout.splitlines()]
    assert owners == ["owner-1", "owner-2"]


def test_watching_waits_for_a_journal_that_is_not_there(spawn: Spawn, tmp_path: Path) -> None:
    """As a service it has nothing to do yet; SIGTERM ends it with 0."""
    process = spawn("recover", "--watch", "--every", "0.05")
    assert process.stderr is not None
    assert process.stderr.readline() == "Watching for dead processes; Ctrl-C ends it.\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("moment", range(1, 5))
def test_a_signal_at_any_moment_of_its_wait_ends_the_watch(moment: int) -> None:
    """The handler sets what the main thread waits for, and must not wait for that itself."""
    remaining = [moment]

    def strike(_frame: object, _event: str, _argument: object) -> None:
        remaining[0] -= 1
        if not remaining[0]:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    with until_stopped() as stopped:
        sys.setprofile(strike)
        try:
            assert stopped.wait(30)
        finally:
            sys.setprofile(None)
