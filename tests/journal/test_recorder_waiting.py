"""Publishers wait where lines are not durable at once, and hooks are guarded before they run."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from eventflow import (
    flow,
    hook,
    runtime,
    task,
)
from eventflow.errors import JournalError
from eventflow.journal.format import decode
from eventflow.journal.rows import RunRow
from tests.journal.fakes import FakeSink
from tests.journal.reading import (
    the_recorder,
)
from tests.journal.scenes import double, seen

pytestmark = pytest.mark.usefixtures("eventflow_isolated")
OWNER = RunRow._fields.index("owner")
SEQUENCE = RunRow._fields.index("sequence")


def test_a_publisher_waits_before_hooks_run(
    sink: FakeSink,
) -> None:
    """At the first and the last transition of a run that may have hooks, and at all with hooks."""
    seen_at: list[int] = []
    declared = flow(
        name="main", on_completion=[lambda *_: seen_at.append(sink.calls.count("wait"))]
    )(lambda: 1)
    declared()
    calls = [call for call in sink.calls if not call.startswith(("guard", "notify"))]
    assert calls == ["line", "wait", "line", "line", "wait"]
    assert seen_at == [2]
    the_recorder().flush_held()
    sink.calls.clear()
    double(1)
    assert sink.calls == ["line", "notify"] * 3


def test_async_code_waits_without_blocking_its_loop(sink: FakeSink) -> None:
    """Another thread waits while the loop runs, and the hook runs afterwards."""
    order: list[str] = []

    def wait_() -> bool:
        assert threading.current_thread() is not sink.loop_thread
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        assert turned.wait(30)
        order.append("waited")
        return True

    @flow(on_completion=[lambda *_: order.append("hook")])
    async def main() -> None:
        order.append("body")

    loop = asyncio.new_event_loop()
    sink.loop_thread = threading.current_thread()
    sink.wait = wait_  # type: ignore[method-assign]
    loop.run_until_complete(main())
    loop.close()
    assert order == ["waited", "body", "waited", "hook"]


def test_hooks_are_guarded_again_only_if_they_change(sink: FakeSink) -> None:
    """At the first run of a definition, when one is added, and in another process."""
    declared = flow(name="main", on_completion=[seen])(lambda: 1)

    def guarded() -> int:
        count = sink.calls.count("guard")
        sink.calls.clear()
        return count

    declared()
    declared()
    assert guarded() == 1
    declared.on_failure(seen)
    declared()
    assert guarded() == 1
    hook(state="Failed")(seen)
    declared()
    double(1)
    assert guarded() == 1
    sink.owner = "child"
    declared()
    assert guarded() == 2  # the flow's, and that of the bus


def test_nothing_is_recorded_of_a_run_that_was_taken_over(sink: FakeSink) -> None:
    """Neither transitions nor outcomes of hooks, and there is no transaction."""
    refused: list[str] = []

    def taken_over(_flow: Any, run: Any, _state: Any) -> None:
        assert not the_recorder().has_given_up(run)
        sink.owner = "another"
        sink.calls.clear()
        with pytest.raises(JournalError, match="taken over by another process"):
            runtime.hook.transaction()
        refused.append("asked")

    flow(on_running=[taken_over], on_completion=[seen])(lambda: 1)()
    assert refused == ["asked"]
    assert sink.calls == []


class LateLock:
    """A lock that this process gets only when it is another owner, if a test says so."""

    def __init__(self, sink: FakeSink) -> None:
        self.next_owner = sink.owner
        self._sink = sink

    def __enter__(self) -> None:
        self._sink.owner = self.next_owner

    def __exit__(self, *_: object) -> None:
        pass


def test_a_run_may_be_given_up_while_a_line_of_it_is_made(sink: FakeSink) -> None:
    """It is not written in the name of the new owner, and neither is the outcome of a hook."""
    sink.lock = lock = LateLock(sink)

    @task
    def taken_over() -> None:
        lock.next_owner = "another"

    def hook_taken_over(*_: Any) -> None:
        lock.next_owner = "third"

    taken_over()
    assert [row[SEQUENCE] for line in sink.lines for row in decode([line]).runs.values()] == [0, 1]
    sink.lines.clear()
    flow(on_running=[hook_taken_over])(lambda: 1)()
    assert [list(decode([line]).settlements) for line in sink.lines] == [[], []]


def test_what_is_held_back_may_be_written_by_a_new_owner(sink: FakeSink) -> None:
    """Nothing of the run was written by the old one, so that it is not given up."""
    sink.waits = False
    sink.lock = lock = LateLock(sink)

    @task
    def held_back() -> None:
        lock.next_owner = "another"

    held_back()
    the_recorder().flush_held()
    (row,) = (row for line in sink.lines for row in decode([line]).runs.values())
    assert (row[OWNER], row[SEQUENCE]) == ("another", 2)
