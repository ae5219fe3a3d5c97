"""What runs leave in the journal: every transition, one delivery for each hook it is owed to."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflow import (
    Event,
    Hook,
    bus,
    cancel,
    flow,
    hook,
    runtime,
    tags,
    task,
    wait,
)
from eventflow.errors import EventflowError, JournalError
from eventflow.eventbus.bus import current_bus
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, Fence, RunQuery
from eventflow.journal.format import decode
from eventflow.journal.recorder import MANY, Recorder
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow
from eventflow.journal.stores.memory import MemoryJournal
from eventflow.primitives.ids import delivery_id, new_id
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_JOURNAL_URL,
    temporary_settings,
)
from eventflow.states import Cancelled, StateType
from eventflow.testing import capture_events, isolated
from tests.journal.reading import account, owed, statuses, the_run, told_alike, written

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@task
def double(number: int) -> int:
    """Be a task that works."""
    return 2 * number


@task
def fails() -> None:
    """Be a task that does not."""
    raise ValueError("no")


@task
async def adouble(number: int) -> int:
    """Be an async task."""
    await asyncio.sleep(0)

    return 2 * number


# -- the rows --------------------------------------------------------------------------------


def sync_runs() -> None:
    @flow(tags=["nightly"])
    def child(number: int) -> int:
        return double(number)

    @flow(name="parent", flow_run_name="for-{day}", version="7")
    def parent(day: str) -> int:
        with tags("prod"):
            return child(1) + double(2)

    assert parent("monday") == 6


def async_runs() -> None:
    @flow
    async def parent() -> Any:
        return await asyncio.gather(adouble(1), adouble(2))

    assert asyncio.run(parent()) == [2, 4]


def submitted_runs() -> None:
    @flow
    def parent() -> Any:
        first: Any = double.submit(1)
        return double.submit(first).result(), double.map([1, 2, 3])

    assert parent()[0] == 4


def generators() -> None:
    @flow
    def counts() -> Iterator[int]:
        yield from range(3)

    @flow
    async def acounts() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def main() -> list[int]:
        return [number async for number in acounts()]

    assert list(counts()) == asyncio.run(main()) == [0, 1, 2]
    early: Any = counts()
    next(early)
    early.close()


def retries() -> None:
    counted = itertools.count(1)

    @task(retries=2, retry_delay_seconds=0.001)
    def third_time() -> None:
        if next(counted) < 3:
            raise ValueError("again")

    third_time()


def timeouts() -> None:
    @flow(timeout_seconds=0.01)
    def slow() -> None:
        threading.Event().wait(60)

    @flow(timeout_seconds=0.01)
    async def aslow() -> None:
        await asyncio.Event().wait()

    assert slow(return_state=True).name == "TimedOut"
    assert asyncio.run(aslow(return_state=True)).name == "TimedOut"


def failures() -> None:
    @flow
    def parent() -> None:
        fails(return_state=True)
        double(1, 2, return_state=True)
        first: Any = fails.submit()
        double.submit(first)
        wait([first])

    assert parent(return_state=True).is_completed


def cancellations() -> None:
    @flow
    def child() -> None:
        assert cancel(str(runtime.flow_run.root_flow_run_id))
        threading.Event().wait(60)

    @flow
    def parent() -> None:
        child()

    assert parent(return_state=True).is_cancelled
    assert flow(name="gives up")(Cancelled)(return_state=True).is_cancelled


def cached() -> None:
    known = task(name="known", cache_key_fn=lambda *_: "key")(lambda: 1)
    assert (known(), known(return_state=True).name) == (1, "Cached")


def crashes() -> None:
    @task
    def interrupted() -> None:
        raise KeyboardInterrupt

    @flow
    def parent() -> None:
        interrupted()

    @flow
    async def aparent() -> None:
        raise SystemExit(3)

    with pytest.raises(KeyboardInterrupt):
        parent()
    with pytest.raises(SystemExit):
        asyncio.run(aparent())


SCENES: dict[str, tuple[Callable[[], None], int]] = {
    one.__name__: (one, runs)
    for one, runs in (
        *((sync_runs, 4), (async_runs, 3), (submitted_runs, 6), (generators, 3), (retries, 1)),
        *((timeouts, 2), (failures, 5), (cancellations, 3), (cached, 2), (crashes, 3)),
    )
}


@pytest.mark.parametrize("url", ["sqlite", "memory"])
@pytest.mark.parametrize("scene", SCENES)
def test_rows_say_what_the_events_say(scene: str, url: str) -> None:
    """However runs are executed and however they end, and with hooks or without."""
    play, runs = SCENES[scene]
    given_url = "memory://" if url == "memory" else None
    with temporary_settings({EVENTFLOW_JOURNAL_URL: given_url}), isolated():
        hook(state=["Running", "Completed", "Failed", "TimedOut", "Crashed", "Cancelled"])(seen)
        with capture_events() as events:
            play()
        assert told_alike(events) == runs
        assert {one.status for one in owed()} <= {DeliveryStatus.DELIVERED}
        assert owed()


def seen(*_: Any) -> None:
    """Be a hook that only is called."""


def _named(pattern: str) -> RunQuery:
    return RunQuery(definition=pattern)


def test_the_journal_speaks_of_the_definition(eventflow_events: list[Event]) -> None:
    """Where it is found again, its version, its tags and its parameters, as soon as it begins."""
    sync_runs()
    row = the_run("parent")
    assert row.reference.startswith(f"{__name__}:sync_runs.<locals>.parent")
    assert (row.name, row.version, row.parameters) == ("for-monday", "7", '{"day":"monday"}')
    assert the_run("child").tags == ("nightly", "prod")
    assert the_run("child").reference != row.reference
    assert {one.reference for one in written().runs(_named("double"))} == {f"{__name__}:double"}


def test_a_parameter_that_came_late_is_there_in_the_end() -> None:
    """What a run waited for is resolved in its row; while it waited, nothing is told."""
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
    assert the_run("double").parameters == '{"number":20}'


# -- deliveries --------------------------------------------------------------------------------


def test_one_delivery_for_each_hook_before_the_first_runs() -> None:
    """Own and global, in order; ids are known beforehand; what is settled is seen by the next."""
    looks: list[list[tuple[str, str, int]]] = []
    ids: list[str | None] = []

    def look(_definition: Any, run: Any, _state: Any) -> None:
        looks.append(statuses(run.id))
        ids.append(runtime.hook.delivery_id)

    hook(state="Completed")(look)
    main = flow(name="main", hooks=[Hook(look, state="Completed", id=str(n)) for n in range(2)])
    state = main(lambda: 1)(return_state=True)

    name, wait_, done = "Completed", (*("Completed", "pending"), 0), ("Completed", "delivered", 1)
    now = (name, "running", 1)
    assert looks == [[now, wait_, wait_], [done, now, wait_], [done, done, now]]
    assert statuses() == [done] * 3
    rows = owed()
    assert [one.id for one in rows] == [delivery_id(state.id, place) for place in range(3)]
    assert [str(one.id) for one in rows] == ids
    assert [one.ordinal for one in rows] == [0, 1, 2]
    assert [one.hook for one in rows][:2] == ["0", "1"]
    assert {one.importable for one in rows} == {False}


def test_only_hooks_that_run_are_owed() -> None:
    """Not those for other states or runs, not a cancelled one, and a `once` only once."""
    left = bus.subscribe(seen, state="Completed")
    declared = flow(name="main", on_completion=[seen], on_failure=[seen])(lambda: 1)
    hook(run_type="task", state="Completed")(seen)
    hook(state="Completed", name="other*")(seen)
    (last,) = [one for one in bus.subscriptions if one.filter.watches != "run"][-1:]
    declared()
    assert len(owed()) == 1
    last.cancel()
    left.cancel()
    declared()
    assert len(owed()) == 2


def test_a_hook_that_is_used_up_is_owed_no_more() -> None:
    """Of a hook for one event, one delivery, however many transitions there are."""
    from eventflow.eventbus.subscriptions import Phase
    from eventflow.hooks.receiver import HookReceiver

    one = Hook(seen, state="Completed")
    bus.attach(seen, HookReceiver(one), one.filter(), phase=Phase.HOOK, once=True)
    for _ in range(3):
        double(1)

    assert statuses() == [("Completed", "delivered", 1)]


def test_retries_are_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt is counted before it begins; in between it says why and when the next one is."""
    rows: list[Any] = []

    def slept(_seconds: float) -> None:
        rows.extend(owed())

    monkeypatch.setattr("eventflow.hooks.receiver.sleep", slept)

    def late(*_: Any) -> None:
        rows.extend(owed())
        if runtime.hook.attempt < 3:
            raise ValueError(f"not yet {runtime.hook.attempt}")

    flow(hooks=[Hook(late, state="Completed", retries=5, retry_delay_seconds=30)])(lambda: 1)()
    (last,) = owed()

    assert [(str(one.status), one.attempts, one.error) for one in rows] == [
        ("running", 1, None),
        ("failed", 1, "ValueError: not yet 1"),
        ("running", 2, None),
        ("failed", 2, "ValueError: not yet 2"),
        ("running", 3, None),
    ]
    waits = [one for one in rows if one.status is DeliveryStatus.FAILED]
    assert [(one.due - one.updated).total_seconds() for one in waits] == [30, 30]
    assert (last.status, last.attempts, last.error, last.due) == ("delivered", 3, None, None)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_hook_that_never_works_is_dead(way: str) -> None:
    """With its last error, cut; the next hook is delivered, and nothing is owed any more."""

    def broken(*_: Any) -> None:
        raise ValueError("\udcff" + "x" * 20_000)

    def body() -> None: ...

    async def abody() -> None: ...

    hooks = [Hook(broken, state="Completed", retries=1), Hook(seen, state="Completed")]
    if way == "sync":
        flow(hooks=hooks)(body)()
    else:
        asyncio.run(flow(hooks=hooks)(abody)())
    assert statuses() == [("Completed", "dead", 2), ("Completed", "delivered", 1)]
    error = owed()[0].error
    assert error is not None
    assert error.startswith("ValueError: \\udcffxxx")
    assert len(error) == 10_000
    assert written().verify() == []


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_interrupted_hook_stays_owed(way: str) -> None:
    """Ctrl-C is no fault of the hook's: somebody else will finish it; a mere exit is its end."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    def leaves(*_: Any) -> None:
        raise SystemExit

    async def abody() -> None: ...

    hooks = [Hook(interrupted, state="Completed", retries=3), Hook(leaves, state="Completed")]
    with pytest.raises(KeyboardInterrupt):
        if way == "sync":
            flow(hooks=hooks)(lambda: 1)()
        else:
            asyncio.run(flow(hooks=hooks)(abody)())
    assert statuses() == [("Completed", "failed", 1), ("Completed", "dead", 1)]
    assert owed()[0].due is None


def test_a_cancellation_of_the_hooks_own_making_is_its_failure() -> None:
    """It is dead after its last attempt, as after any other error."""

    async def awaits_cancelled(*_: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    flow(hooks=[Hook(awaits_cancelled, state="Completed")])(lambda: 1)()
    assert statuses() == [("Completed", "dead", 1)]


def test_hooks_of_every_transition_in_order() -> None:
    """Of Pending, Running and the end, of children before their parents."""
    order: list[str] = []

    @hook()
    def tell(definition: Any, _run: Any, state: Any) -> None:
        order.append(f"{definition.name} {state.name}")

    sync_runs()
    names = {
        row.id: row.definition for row in map(written().run, {o.run_id for o in owed()}) if row
    }
    assert len(owed()) == len(order) == 12
    mine = [one for one in owed() if names[one.run_id] == "parent"]
    assert [one.ordinal for one in mine] == [0, 0, 0]
    assert {str(one.status) for one in owed()} == {"delivered"}


# -- what is odd -------------------------------------------------------------------------------


def test_odd_texts_and_values_are_recorded() -> None:
    """Whatever names, messages and parameters hold: the run is in the journal, in plain text."""

    @flow(name="\udc80 \0 \u2028", version="\udc81", tags=["\ud800"])
    def odd(text: str, number: object) -> None:
        raise ValueError("\udc82\0" + "y" * 50_000)

    with pytest.raises(ValueError, match="yyy"):
        odd("\udc83\0", 10**5000)
    (row,) = written().runs(_named("*"))
    events = written().events(row.id)

    assert row.parameters == '{"text":"\\\\udc83\\u0000","number":"<a huge int>"}'
    assert row.message is not None
    assert len(row.message) == 10_000
    assert row.message == events[-1].message
    assert len(events[-1].error or "") < 50_000
    assert row.tags == ("\\ud800",)
    assert written().verify() == []


def test_a_line_that_cannot_be_made_fails_no_run(caplog: pytest.LogCaptureFixture) -> None:
    """The run ends as it does, its hooks run, and the log says what is missing."""

    class Version:
        def __str__(self) -> str:
            raise ValueError("no text")

    calls: list[str] = []
    broken = flow(name="broken", on_completion=[lambda *_: calls.append("hook")])(lambda: 1)
    broken.version = Version()  # type: ignore[assignment]  # what nobody can write
    assert broken() == 1

    assert calls == ["hook"]
    assert caplog.text.count("A transition could not be recorded") == 3
    assert written().runs(_named("broken")) == []
    # Half a row would be refused only by the journal, with all that is in its line.
    assert "not in the journal" not in caplog.text


class Broken(MemoryJournal):
    """A journal that cannot be written, until it is mended."""

    mended = False

    def commit_lines(self, lines: Any, fence: Fence | None = None) -> None:
        """Fail."""
        if not self.mended:
            raise JournalError("The disk is full.")
        super().commit_lines(lines, fence)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_journal_that_cannot_be_written_fails_no_run(
    way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs and hooks go on; what happened meanwhile is written when it is well again."""
    broken = Broken()
    monkeypatch.setattr("eventflow.owners.session.open_journal", lambda *_: broken)
    calls: list[str] = []
    hook(state="Completed")(lambda *_: calls.append("hook"))
    if way == "sync":
        sync_runs()
    else:
        async_runs()
    assert not account().flush()
    assert "The disk is full." in caplog.text
    broken.mended = True
    assert account().flush()

    assert len(calls) == len(owed()) == (4 if way == "sync" else 3)
    assert {str(one.status) for one in owed()} == {"delivered"}
    assert written().verify() == []


def test_without_durability_nothing_is_recorded(tmp_path: Any) -> None:
    """No file, no folder, no thread, and a hook that asks for a transaction is told why not."""
    told: list[str] = []

    def asks(*_: Any) -> None:
        try:
            runtime.hook.transaction()
        except EventflowError as error:
            told.append(str(error))

    with temporary_settings({EVENTFLOW_DURABILITY: "off"}), isolated(tmp_path / "off") as own:
        flow(on_completion=[asks])(lambda: 1)()
        assert own.bus.recorder is None
        assert not (tmp_path / "off").exists()
    assert len(told) == 1
    assert "EVENTFLOW_DURABILITY is off" in told[0]


class Books:
    """Books that note down what is asked of them, as if each line had to be waited for."""

    waits = True
    begun = True
    owner = "owner"
    given_up: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.did: list[str] = []
        self.lines: list[bytes] = []

    def begin(self) -> None:
        """Be there already."""

    def put(self, line: bytes) -> None:
        """Note a line."""
        self.lines.append(line)
        self.did.append("settlement" if b"settlements" in line else "line")

    def wait(self) -> bool:
        """Note the waiting."""
        self.did.append("wait")
        assert threading.current_thread() is not self.loop_thread
        return True

    loop_thread: threading.Thread | None = None

    def flush(self) -> bool:
        """Be done."""
        return True

    def fence(self) -> Fence:
        """Give some fence."""
        return Fence("owner", 1)

    def ring(self) -> None:
        """Note that lines are to be asked for."""
        self.did.append("ring")

    def enlist(self, recorder: Any) -> None:
        """Ask nobody."""

    def guard(self, key: str, hooks: Any) -> None:
        """Note who is guarded."""
        self.did.append(f"guard {key.rpartition(':')[2]} {len(hooks)}")


@pytest.fixture
def books() -> Books:
    """Put books on the bus in force that are nobody's."""
    made = Books()
    own = current_bus()
    own.recorder = Recorder(made, own)
    own.composed = True

    return made


def test_before_the_first_hook_is_waited_where_lines_are_not_durable_at_once(books: Books) -> None:
    """At the first transition of a run that may have hooks, at its last, and at all with hooks."""
    seen_at: list[int] = []
    declared = flow(
        name="main", on_completion=[lambda *_: seen_at.append(books.did.count("wait"))]
    )(lambda: 1)
    declared()
    did = [one for one in books.did if not one.startswith(("guard", "ring"))]
    assert did == ["line", "wait", "line", "line", "wait"]
    assert seen_at == [2]
    _account().release()
    books.did.clear()
    double(1)
    assert books.did == ["line", "ring"] * 3


def test_async_code_waits_without_blocking_its_loop(books: Books) -> None:
    """Another thread waits; meanwhile the loop turns, and only then the hook runs."""
    order: list[str] = []

    def wait_() -> bool:
        assert threading.current_thread() is not books.loop_thread
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        assert turned.wait(30)
        order.append("waited")
        return True

    @flow(on_completion=[lambda *_: order.append("hook")])
    async def main() -> None:
        order.append("body")

    loop = asyncio.new_event_loop()
    books.loop_thread = threading.current_thread()
    books.wait = wait_  # type: ignore[method-assign]
    loop.run_until_complete(main())
    loop.close()
    assert order == ["waited", "body", "waited", "hook"]


def test_hooks_are_guarded_once_and_again_when_they_are_others(books: Books) -> None:
    """At the first run of a definition; when one is added; when this is another process."""
    declared = flow(name="main", on_completion=[seen])(lambda: 1)

    def guarded() -> list[str]:
        found = [one.split(" ", 1)[1] for one in books.did if one.startswith("guard")]
        books.did.clear()
        return [one if one.startswith("*") else one[-1] for one in found]

    declared()
    declared()
    assert guarded() == ["1"]
    declared.on_failure(seen)
    declared()
    assert guarded() == ["2"]
    hook(state="Failed")(seen)
    declared()
    double(1)
    assert guarded() == ["* 1", "0"]
    books.owner = "child"
    declared()
    assert guarded() == ["* 1", "2"]


def test_of_a_run_that_others_took_over_nothing_is_recorded(books: Books) -> None:
    """Neither transitions nor what comes of its hooks, nor a transaction."""
    told: list[str] = []

    def silent(_flow: Any, run: Any, _state: Any) -> None:
        books.given_up = frozenset({run.id.int})
        books.did.clear()
        with pytest.raises(JournalError, match="taken over by another process"):
            runtime.hook.transaction()
        told.append("asked")

    flow(on_running=[silent], on_completion=[seen])(lambda: 1)()
    assert told == ["asked"]
    assert books.did == []


EVENT = len(EventRow._fields)


def _account() -> Recorder:
    found = current_bus().recorder
    assert isinstance(found, Recorder)

    return found


def _events(line: bytes) -> list[str]:
    """Give the names of the states in a line."""
    return decode([line]).events[4::EVENT]


def test_what_nobody_hears_of_is_held_back(books: Books) -> None:
    """It is written when it is asked for, all in one line, with one row for each run."""
    books.waits = False
    double(1)
    double(2)
    assert books.did == ["ring"] * 6
    _account().release()
    _account().release()
    assert [_events(line) for line in books.lines] == [["Pending", "Running", "Completed"] * 2]
    assert len(decode(books.lines).runs) == 2


def test_many_that_are_held_back_are_not_waited_with(books: Books) -> None:
    """However many runs there are before anybody asks, few of them are in memory only."""
    books.waits = False
    for number in range(MANY):
        double(number)
    assert [len(_events(line)) for line in books.lines] == [MANY] * 3


@pytest.mark.parametrize("state", [None, "Crashed", StateType.CRASHED, ["Failed", "Crashed"]])
def test_a_run_whose_crash_is_heard_of_is_written_before_its_body_begins(
    books: Books, state: Any
) -> None:
    """Its first transition with the next; what was held back before is in that line too."""
    books.waits = False
    double(1)
    seen_at: list[list[str]] = []
    called = task(hooks=[Hook(seen, state=state, name="called")], name="called")
    called(lambda: seen_at.extend(map(_events, books.lines)))()
    before = ["Pending", "Running", "Completed", "Pending"]
    # Of one that hears of every transition, the first is not held back either, nor its outcome.
    all_at_once = [before, [], ["Running"], []]
    assert seen_at == (all_at_once if state is None else [[*before, "Running"]])


def test_a_hook_for_all_may_hear_of_any_crash(books: Books) -> None:
    """Whatever it selects: a run is in the journal before its body begins."""
    books.waits = False
    hook(state="Completed")(seen)
    seen_at: list[list[str]] = []
    task(lambda: seen_at.extend(map(_events, books.lines)))()
    assert seen_at == [["Pending", "Running"]]


def test_of_a_task_whose_crash_nobody_hears_of_there_is_one_line(books: Books) -> None:
    """Before its hook runs; the hook is begun with it, and what came of it follows in the next."""
    books.waits = False
    called = task(on_completion=[seen], on_failure=[seen])(lambda: books.lines)
    assert called() == called() == books.lines
    first, second = (decode([line]) for line in books.lines)
    assert [_events(line) for line in books.lines] == [["Pending", "Running", "Completed"]] * 2
    (begun,) = first.deliveries.values()
    assert begun[STATUS:] == ["running", 1, None, None, first.events[5 + 2 * EVENT]]
    (done,) = second.settlements.values()
    assert done[1:4] == [begun[0], "delivered", 1]
    _account().release()
    assert len(decode(books.lines[2:]).settlements) == 1
    assert len(books.lines) == 3


def test_of_several_hooks_each_is_begun_when_the_one_before_has_ended(books: Books) -> None:
    """In one line: what came of the one, and that the next begins."""
    books.waits = False
    task(hooks=[Hook(seen, state="Completed", id=one) for one in "abc"])(lambda: 1)()
    first, *others = (decode([line]) for line in books.lines)
    assert [one[STATUS] for one in first.deliveries.values()] == ["running", "pending", "pending"]
    ids = list(first.deliveries)
    for place, rows in enumerate(others):
        told = {key: row[2] for key, row in rows.settlements.items()}
        assert told == {ids[place]: "delivered", ids[place + 1]: "running"}
    assert len(others) == 2


def test_a_failure_is_written_at_once(books: Books) -> None:
    """With its end, whichever that is: only a success may be forgotten."""
    books.waits = False

    def broken(*_: Any) -> None:
        raise ValueError

    task(hooks=[Hook(broken, state="Completed", retries=1)])(lambda: 1)()
    told = [row[2] for line in books.lines for row in decode([line]).settlements.values()]
    assert told == ["failed", "running", "dead"]


def test_many_outcomes_are_not_held_back(books: Books) -> None:
    """However many hooks end before anything else is written."""
    books.waits = False
    key = (new_id(), new_id(), 0)
    for _ in range(MANY):
        assert books.lines == []
        _account().settle(key, DeliveryStatus.DELIVERED, 1, at_once=False)
    assert len(books.lines) == 1


def test_what_came_of_a_hook_before_the_body_is_written_before_it(books: Books) -> None:
    """A process that dies in the body must not have such a hook run once more."""
    books.waits = False
    told: list[int] = []

    @task(on_running=[seen])
    def asks() -> None:
        told.extend(len(decode([line]).settlements) for line in books.lines)

    asks()
    assert told == [0, 1]


def test_a_flow_is_in_the_journal_before_its_body_begins(books: Books) -> None:
    """Whoever asks what became of a killed process finds it, though nobody heard of it."""
    books.waits = False
    seen_at: list[list[str]] = []
    flow(name="main")(lambda: seen_at.extend(map(_events, books.lines)))()
    assert seen_at == [["Pending", "Running"]]
    assert [_events(line) for line in books.lines[1:]] == [["Completed"]]


def test_what_is_heard_is_written_first(books: Books) -> None:
    """A listener that tells the world of a run finds it in the journal."""
    books.waits = False
    bus.subscribe(seen, state="Running")
    double(1)
    assert books.did == ["ring", "line", "ring", "ring"]
    assert [_events(line) for line in books.lines] == [["Pending", "Running"]]


def test_what_interrupts_a_line_loses_none_of_it(books: Books) -> None:
    """A signal handler may run a task while a line is written; twice in the journal is once."""
    books.waits = False
    put = books.put

    def interrupted(line: bytes) -> None:
        books.put = put  # type: ignore[method-assign]
        double.with_options(on_completion=[seen])(2)
        put(line)

    double(1)
    books.put = interrupted  # type: ignore[method-assign]
    double.with_options(on_completion=[seen])(3)
    _account().release()
    rows = decode(books.lines)
    assert len({*rows.events[::EVENT]}) == 9
    assert {one[SEQUENCE] for one in rows.runs.values()} == {2}
    assert len(rows.deliveries) == 2


SEQUENCE = RunRow._fields.index("sequence")
STATUS = DeliveryRow._fields.index("status")


# -- a random history -----------------------------------------------------------------------------

DEEDS = st.lists(st.sampled_from(sorted(SCENES)), max_size=6)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(deeds=DEEDS, retries_=st.integers(0, 2), works=st.lists(st.booleans(), min_size=1))
def test_any_history_leaves_a_clean_journal(
    deeds: list[str], retries_: int, works: list[bool]
) -> None:
    """Whatever runs there were, and however their hooks fared."""
    with temporary_settings({EVENTFLOW_JOURNAL_URL: "memory://"}), isolated():
        fares = itertools.cycle(works)

        def fares_somehow(*_: Any) -> None:
            if not next(fares):
                raise ValueError

        hook(retries=retries_)(fares_somehow)
        with capture_events() as events:
            for deed in deeds:
                SCENES[deed][0]()
        if not deeds:
            return
        told_alike(events)
        found = owed()
        assert len(found) == len([one for one in events if hasattr(one, "to_state")])
        assert {one.status for one in found} <= {DeliveryStatus.DELIVERED, DeliveryStatus.DEAD}
        assert all(1 <= one.attempts <= retries_ + 1 for one in found)
        assert account().journal.deliveries(DeliveryQuery(statuses=["pending"])) == []  # type: ignore[list-item]


def test_what_is_held_back_is_told_as_it_was() -> None:
    """A body that changes its arguments changes nothing that is written of them later."""

    @task
    def spoil(words: list[str]) -> None:
        words.append("spoilt")

    spoil(["fresh"])
    account().flush()
    (row,) = written().runs(_named("spoil"))
    assert row.parameters == '{"words":"[\'fresh\']"}'
