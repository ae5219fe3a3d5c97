"""A state is read back by the name that it was given, whatever that is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.journal.contract import RunQuery
from eventflow.states import State, StateType
from tests.journal.reading import written


@pytest.mark.parametrize("name", ["", "=", "=x", "C", "Failed"])
@pytest.mark.parametrize("decorate", [flow, task])
def test_any_name_is_read_back(decorate: Any, name: str) -> None:
    """Of the run and of its event, and it finds the run; no other finds it."""

    @decorate(name="named")
    def named() -> Any:
        return State(type=StateType.COMPLETED, name=name)

    @decorate(name="anamed")
    async def anamed() -> Any:
        return State(type=StateType.COMPLETED, name=name)

    assert named(return_state=True).name == name
    assert asyncio.run(anamed(return_state=True)).name == name

    for definition in ("named", "anamed"):
        rows = written().runs(RunQuery(definition=definition))
        assert {row.state_name for row in rows} == {name}
        assert {written().events(row.id)[-1].state_name for row in rows} == {name}
    assert len(written().runs(RunQuery(state_names=[name]))) == 2
    assert written().runs(RunQuery(state_names=["Completed"])) == []
