"""The invariants that hold once all owners are recovered, whatever was killed and when."""

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
from eventflow.owners.leftovers import take_in
from eventflow.states import LEGAL, TERMINAL
from tests.crash.workloads import LOG, RECORDS, owed

NO_LIMIT: Final = 1_000_000


class HookCall(NamedTuple):
    """One call of a hook, as the hook itself recorded it."""

    hook: str
    run: str
    event: str
    delivery: str
    attempt: int
    pid: int


class FinalState(NamedTuple):
    """The journal, what bodies, hooks and callers recorded, and the problems in the log."""

    runs: dict[str, RunRow]
    events: dict[str, EventRow]
    deliveries: dict[str, DeliveryRow]
    calls: list[HookCall]
    records: list[list[Any]]
    log: list[str]
    findings: list[str]
    owners: list[str]
    paid: Counter[str]

    @classmethod
    def read(cls, home: Path) -> FinalState:
        """Read the journal and the files of a home."""
        url = f"sqlite:///{home / 'journal.db'}"
        take_in(url, "process")
        journal = open_journal(url)
        with closing(journal):
            runs = {str(run.id): run for run in journal.runs(RunQuery(limit=NO_LIMIT))}
            events = [event for run in runs.values() for event in journal.events(run.id)]
            deliveries = journal.deliveries(DeliveryQuery(limit=NO_LIMIT))
            findings = [str(finding) for finding in journal.verify()]
            owners = [owner.id for owner in journal.owners(alive=True)]
        records = [json.loads(line) for line in _lines(home / RECORDS)]

        return cls(
            runs=runs,
            events={str(event.id): event for event in events},
            deliveries={str(delivery.id): delivery for delivery in deliveries},
            calls=[HookCall(*facts) for kind, *facts in records if kind == "hook"],
            records=records,
            log=_problems(home / LOG),
            findings=findings,
            owners=owners,
            paid=_paid(home),
        )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _problems(log: Path) -> list[str]:
    """Return the warnings and errors in the log, and output that is no log line."""
    problems = []
    for line in _lines(log):
        try:
            entry = json.loads(line)
        except ValueError:
            # `eventflow recover` prints a line for each owner, or that there is none.
            problems += [] if line.startswith(("✓ ", "No dead process ")) else [line]
            continue
        # What became of runs, and the exceptions of hooks, are logged by the loggers of runs.
        if entry["level"] in {"warning", "error"} and not entry["logger"].endswith("runs"):
            problems.append(entry["event"])

    return problems


def _paid(home: Path) -> Counter[str]:
    with closing(sqlite3.connect(home / "journal.db")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'paid'").fetchall():
            return Counter()
        return Counter(str(key) for (key,) in connection.execute("SELECT * FROM paid"))


def violations(final: FinalState) -> list[str]:
    """Return the invariants that are violated, in words."""
    return [
        *final.findings,
        *final.log,
        *(f"owner {owner} counts as alive" for owner in final.owners),
        *_all_ended(final),
        *_legal_transitions(final),
        *_children_crash_first(final),
        *_every_hook_is_owed(final),
        *_every_delivery_is_made(final),
        *_every_call_is_owed(final),
        *_calls_in_order(final),
        *_records_in_journal(final),
        *_paid_once(final),
    ]


def _all_ended(final: FinalState) -> Iterator[str]:
    for run in final.runs.values():
        if run.ended is None or run.state_type not in TERMINAL:
            yield f"{_run(run)} has no end: {run.state_name}"


def _legal_transitions(final: FinalState) -> Iterator[str]:
    last: dict[str, EventRow] = {}
    for event in sorted(final.events.values(), key=lambda event: event.sequence):
        before = last.get(str(event.run_id))
        if event.state_type not in LEGAL[None if before is None else before.state_type]:
            yield f"{event.run_id} entered {event.state_name} from {before and before.state_name}"
        if event.follows != (None if before is None else before.id):
            yield f"{event.run_id}: {event.state_name} follows {event.follows}, not the one before"
        last[str(event.run_id)] = event


def _children_crash_first(final: FinalState) -> Iterator[str]:
    ends = {
        str(event.run_id): event.occurred
        for event in final.events.values()
        if event.state_type in TERMINAL
    }
    for run in final.runs.values():
        parent = final.runs.get(str(run.parent_run_id))
        if parent is None or {run.state_name, parent.state_name} != {"Crashed"}:
            continue
        if ends[str(run.id)] > ends[str(parent.id)]:
            yield f"{_run(run)} crashed after its parent"


def _every_hook_is_owed(final: FinalState) -> Iterator[str]:
    """Every transition has one delivery for each of its hooks."""
    rows: defaultdict[str, list[DeliveryRow]] = defaultdict(list)
    for delivery in final.deliveries.values():
        rows[str(delivery.event_id)].append(delivery)
    for key, event in final.events.items():
        run = final.runs[str(event.run_id)]
        expected = owed(run.definition, run.run_type, event.state_type, event.state_name)
        actual = [_name(row) for row in rows.pop(key, [])]
        if sorted(actual) != sorted(expected):
            yield f"{_run(run)} {event.state_name}: owed are {actual}, not {expected}"
    for key in rows:
        yield f"a delivery is owed for an event {key} that is not in the journal"


def _every_delivery_is_made(final: FinalState) -> Iterator[str]:
    counts = Counter(call.delivery for call in final.calls)
    for key, row in final.deliveries.items():
        if row.status != "delivered":
            yield f"{_name(row)} of {row.run_id} is {row.status} after {row.attempts} attempts"
        if not counts[key]:
            yield f"{_name(row)} of {row.run_id} is {row.status}, but was never called"


def _every_call_is_owed(final: FinalState) -> Iterator[str]:
    """No hook was called for a transition that did not happen, or instead of another hook."""
    for call in final.calls:
        row = final.deliveries.get(call.delivery)
        if call.event not in final.events:
            yield f"{call.hook} ran for a transition of {call.run} that did not happen"
        if row is None:
            yield f"{call.hook} ran for {call.run}, but is not owed"
        elif (str(row.event_id), str(row.run_id), _name(row)) != (call.event, call.run, call.hook):
            yield f"{call.hook} ran instead of {row}"


def _calls_in_order(final: FinalState) -> Iterator[str]:
    """The hooks of a run are called in its order, and each attempt is counted before it begins."""
    last: dict[str, tuple[int, int, int]] = {}
    for call in final.calls:
        event, row = final.events.get(call.event), final.deliveries.get(call.delivery)
        if event is None or row is None:
            continue
        position = (event.sequence, row.ordinal, call.attempt)
        before = last.get(call.run, (-1, 0, 0))
        if position <= before or call.attempt > row.attempts:
            yield f"{call.hook} of {call.run} at {position} after {before}, of {row.attempts}"
        last[call.run] = position


def _records_in_journal(final: FinalState) -> Iterator[str]:
    """Every attempt that a body recorded, and every end that a caller got, is in the journal."""
    ends = {str(run.state_id) for run in final.runs.values()}
    begun = {(str(event.run_id), event.run_count) for event in final.events.values()}
    for kind, key, fact, *_ in final.records:
        if kind == "body" and (key, fact) not in begun:
            yield f"a body of {key} executed, attempt {fact}, which is not in the journal"
        if kind == "returned" and key not in ends:
            yield f"a caller got {fact} as the end of a run, which has another: {key}"


def _paid_once(final: FinalState) -> Iterator[str]:
    expected = {key for key, row in final.deliveries.items() if _name(row) == "paying"}
    for key in expected | set(final.paid):
        if final.paid[key] != 1:
            yield f"the delivery {key} was paid {final.paid[key]} times"


def _name(row: DeliveryRow) -> str:
    return row.hook.rpartition(":")[2]


def _run(run: RunRow) -> str:
    return f"{run.run_type} run {run.definition} {run.id}"
