"""The fixtures, as they are used in a user's test suite."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SUITE = """
from eventflow import bus, task
from eventflow.eventbus import current_bus
from eventflow.settings import EVENTFLOW_HOME

@task
def work(): ...

def test_events(eventflow_events, eventflow_isolated):
    work()
    names = [event.to_state.name for event in eventflow_events]
    assert names == ["Pending", "Running", "Completed"]
    assert current_bus() is eventflow_isolated.bus

def test_isolated(eventflow_isolated, tmp_path):
    assert current_bus() is eventflow_isolated.bus
    assert bus.subscriptions == []
    assert EVENTFLOW_HOME.value() == eventflow_isolated.home == tmp_path / "eventflow-home"
"""


def test_the_fixtures_come_with_the_package(pytester: pytest.Pytester) -> None:
    """Nothing has to be configured: installed is enough."""
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")

    result.assert_outcomes(passed=2)
    listed = pytester.runpytest_inprocess("--fixtures", "-p", "no:cacheprovider")
    listed.stdout.fnmatch_lines(["eventflow_isolated*", "eventflow_events*"])
