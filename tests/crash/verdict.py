"""What must hold once everything is over, whatever was killed and when."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow
from eventflow.states import LEGAL, TERMINAL
from tests.crash.workloads import owed

MANY: Final = 1_000_000


class Heard(NamedTuple):
    """One call of a hook, as the hook itself told of it."""

    hook: str
    run: str
    event: str
    delivery: str
    attempt: int
    pid: int


class Remains(NamedTuple):
    """All that is left: the journal, and what bodies, hooks and callers told."""

    runs: dict[str, RunRow]
    events: dict[str, EventRow]
    deliveries: dict[str, DeliveryRow]
    heard: list[Heard]
    told: list[list[Any]]
    said: list[str]
    findings: list[str]
    owners: list[str]
    paid: Counter[str]

    @classmethod
    def read(cls, home: Path) -> Remains:
        """Read what is left in a home."""
        journal = open_journal(f"sqlite:///{home / 'journal.db'}")
        with closing(journal):
            runs = {str(one.id): one for one in journal.runs(RunQuery(limit=MANY))}
            events = {str(one.id): one for key in runs.values() for one in journal.events(key.id)}
            deliveries = journal.deliveries(DeliveryQuery(limit=MANY))
            findings = [str(one) for one in journal.verify()]
            owners = [one.id for one in journal.owners(alive=True)]
        told = [json.loads(line) for line in _lines(home / "told")]
        heard = [Heard(*facts) for kind, *facts in told if kind == "hook"]
        delivered = {str(one.id): one for one in deliveries}

        return cls(
            *(runs, events, delivered, heard, told, _complaints(home)),
            *(findings, owners, _paid(home)),
        )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _complaints(home: Path) -> list[str]:
    """Give what was said in the log that is no matter of course, and what was not said there."""
    found = []
    for line in _lines(home / "said"):
        try:
            entry = json.loads(line)
        except ValueError:
            # But for what the command `recover` says, of each owner or where there is none.
            found += [] if line.startswith(("✓ ", "No dead process ")) else [line]
            continue
        # What hooks raised is the runs' own.
        if entry["level"] in {"warning", "error"} and not entry["logger"].endswith("_runs"):
            found.append(entry["event"])

    return found


def _paid(home: Path) -> Counter[str]:
    with closing(sqlite3.connect(home / "journal.db")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'paid'").fetchall():
            return Counter()
        return Counter(str(one) for (one,) in connection.execute("SELECT * FROM paid"))


def violations(remains: Remains, *, spooled: bool = True) -> list[str]:
    """Give what does not hold, in words; nothing is what is wanted.

    Where nothing is spooled, what came of a hook is in the journal a moment later only: a process
    that goes on for another is then held to its own order and attempts, and not to the other's.
    """
    return [
        *remains.findings,
        *remains.said,
        *(f"owner {one} counts as alive" for one in remains.owners),
        *_runs(remains),
        *_ways(remains),
        *_owed(remains),
        *_heard(remains),
        *_in_order(remains, spooled=spooled),
        *_told(remains),
        *_paid_once(remains),
    ]


def _runs(remains: Remains) -> Iterator[str]:
    for run in remains.runs.values():
        if run.ended is None or run.state_type not in TERMINAL:
            yield f"{_run(run)} has no end: {run.state_name}"


def _ways(remains: Remains) -> Iterator[str]:
    """Every run went from state to state as it may, and children ended before their parents."""
    events = sorted(remains.events.values(), key=lambda one: one.sequence)
    last: dict[str, EventRow] = {}
    for one in events:
        before = last.get(str(one.run_id))
        if one.state_type not in LEGAL[None if before is None else before.state_type]:
            yield f"{one.run_id} entered {one.state_name} from {before and before.state_name}"
        if one.follows != (None if before is None else before.id):
            yield f"{one.run_id}: {one.state_name} follows {one.follows}, not what came before"
        last[str(one.run_id)] = one
    for run in remains.runs.values():
        above = remains.runs.get(str(run.parent_run_id))
        if above is None or {run.state_name, above.state_name} != {"Crashed"}:
            continue
        if last[str(run.id)].occurred > last[str(above.id)].occurred:
            yield f"{_run(run)} crashed after what had called it"


def _owed(remains: Remains) -> Iterator[str]:
    """Every transition has one delivery for each of its hooks, and each is delivered."""
    rows: defaultdict[str, list[DeliveryRow]] = defaultdict(list)
    for one in remains.deliveries.values():
        rows[str(one.event_id)].append(one)
    for key, event in remains.events.items():
        run = remains.runs[str(event.run_id)]
        wanted = owed(run.definition, run.run_type, event.state_type, event.state_name)
        found = [_name(one) for one in rows.pop(key, [])]
        if sorted(found) != sorted(wanted):
            yield f"{_run(run)} {event.state_name}: owed are {found}, not {wanted}"
    for key in rows:
        yield f"owed for an event {key} that is not known"
    calls = Counter(one.delivery for one in remains.heard)
    for key, one in remains.deliveries.items():
        if one.status != "delivered":
            yield f"{_name(one)} of {one.run_id} is {one.status} after {one.attempts} attempts"
        if not calls[key]:
            yield f"{_name(one)} of {one.run_id} is {one.status}, but it never ran"


def _heard(remains: Remains) -> Iterator[str]:
    """No hook ran for what did not happen, nor in another's place."""
    for one in remains.heard:
        row = remains.deliveries.get(one.delivery)
        if one.event not in remains.events:
            yield f"{one.hook} ran for a transition of {one.run} that did not happen"
        if row is None:
            yield f"{one.hook} ran for {one.run}, but is not owed"
        elif (str(row.event_id), str(row.run_id), _name(row)) != (one.event, one.run, one.hook):
            yield f"{one.hook} ran in the place of {row}"


def _together(remains: Remains, *, spooled: bool) -> list[list[Heard]]:
    """Give the calls that must have been in one order."""
    if spooled:
        return [remains.heard]
    by_process: defaultdict[int, list[Heard]] = defaultdict(list)
    for one in remains.heard:
        by_process[one.pid].append(one)

    return list(by_process.values())


def _in_order(remains: Remains, *, spooled: bool) -> Iterator[str]:
    """The hooks of a run are called in its order, attempt by attempt: each counted before."""
    for heard in _together(remains, spooled=spooled):
        yield from _one_after_the_other(remains, heard)


def _one_after_the_other(remains: Remains, heard: list[Heard]) -> Iterator[str]:
    last: dict[str, tuple[int, int, int]] = {}
    for one in heard:
        event, row = remains.events.get(one.event), remains.deliveries.get(one.delivery)
        if event is None or row is None:
            continue
        place = (event.sequence, row.ordinal, one.attempt)
        if place <= last.get(one.run, (-1, 0, 0)) or one.attempt > row.attempts:
            yield f"{one.hook} of {one.run} at {place} after {last.get(one.run)}, of {row.attempts}"
        last[one.run] = place


def _told(remains: Remains) -> Iterator[str]:
    """What a body or a caller knew of is in the journal."""
    ends = {str(one.state_id) for one in remains.runs.values()}
    begun = {(str(one.run_id), one.run_count) for one in remains.events.values()}
    for kind, key, fact, *_ in remains.told:
        if kind == "body" and (key, fact) not in begun:
            yield f"a body of {key} executed, attempt {fact}, of which nothing is known"
        if kind == "saw" and key not in ends:
            yield f"a caller saw {fact} as the end of a run, which has another: {key}"


def _paid_once(remains: Remains) -> Iterator[str]:
    wanted = {key for key, one in remains.deliveries.items() if _name(one) == "paying"}
    for key in wanted | set(remains.paid):
        if remains.paid[key] != 1:
            yield f"the delivery {key} was paid {remains.paid[key]} times"


def _name(row: DeliveryRow) -> str:
    return row.hook.rpartition(":")[2]


def _run(run: RunRow) -> str:
    return f"{run.run_type} run {run.definition} {run.id}"
