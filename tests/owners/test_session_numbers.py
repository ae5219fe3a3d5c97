"""A process that makes definitions for ever needs no more memory, and corrupts nothing."""

from __future__ import annotations

import logging

import pytest

from eventflow import tags, task
from eventflow.journal import sink
from eventflow.journal.contract import RunQuery
from tests.journal.reading import the_recorder, written


@task
def work(number: int) -> int:
    return number


def test_only_so_many_definitions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes again has another number, and its runs are known like those before."""
    monkeypatch.setattr(sink, "NUMBERED", 3)
    for number in range(20):
        with tags(f"order-{number % 10}"):
            work.with_options(name=f"work-{number}")(number)
            assert len(the_recorder().sink.numbers._known) <= 3

    rows = written().runs(RunQuery(name=None))
    assert {(row.definition, row.tags) for row in rows} == {
        (f"work-{number}", (f"order-{number % 10}",)) for number in range(20)
    }
    assert written().verify() == []


def test_one_definition_too_many_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its runs go on; those of the others are recorded still."""
    monkeypatch.setattr(sink, "MOST", 2)
    works = [work.with_options(name=f"work-{number}") for number in range(4)]
    with caplog.at_level(logging.ERROR):
        assert [each(7) for each in [*works, works[0]]] == [7] * 5

    assert "restart it" in caplog.text
    assert sorted(row.definition for row in written().runs(RunQuery())) == [
        *("work-0", "work-0", "work-1"),
    ]
    assert written().verify() == []
