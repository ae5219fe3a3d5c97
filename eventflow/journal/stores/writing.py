"""What a group of records changes in the database.

The runs are written by one statement that reads the bytes of the records itself: so the lock of the
interpreter is needed once for a whole group, and not for each row of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from eventflow.hooks.ledger import WORKERS
from eventflow.journal.claims import FOR_WORKERS
from eventflow.journal.history import transitions
from eventflow.journal.records import (
    ACKNOWLEDGED,
    CONTENT,
    FIELDS,
    LENGTH,
    TEXTS,
    Acknowledged,
    RunRecord,
    Settled,
    run_hex,
    scan,
)
from eventflow.journal.rows import LogLine, OwnerRow
from eventflow.journal.stores.schema import LONG
from eventflow.journal.stores.statements import NUMBER_BITS, Session, put_owner

__all__ = [
    "MARK_OF_WORKERS",
    "Dialect",
    "number_of",
    "put_for_workers",
    "put_runs",
    "put_settled",
    "trim_lines",
    "write_others",
]

MARK_OF_WORKERS: Final = f"@{FOR_WORKERS}".encode()
"""What the events of a run have in them where one was owed to a hook that a worker runs."""


class Dialect(NamedTuple):
    """How a database reads a part of the parameter `data`, and what it writes for some bytes.

    `turn` is 1 for the first record of a run in the group, 2 for its second, where a statement can
    change a row only once. `whole` says that the events in a record begin with the first one.
    """

    raw: str
    number: str
    text: str
    id: str
    run: str
    no_id: str
    no_acks: str
    joined: str
    whole: str
    turn: str

    def part(self, what: str, at: object, width: object, start: str = "i") -> str:
        """Return the expression for a part of the record that begins there, counted from 1."""
        text: str = getattr(self, what)

        return text.format(at=f"{start} + {at}", width=width)

    def field(self, name: str) -> str:
        """Return the expression for a number of fixed width."""
        return self.part("number", *FIELDS[name])


def put_runs(of: Dialect, where: str = "turn = 1") -> str:
    """Return the statement that writes the runs of a group, as far as no newer ones are there."""
    acks = of.part("raw", ACKNOWLEDGED, CONTENT - ACKNOWLEDGED)
    owner = "coalesce((SELECT number FROM @owners WHERE id = :owner), 0)"
    rest = f"l - {TEXTS} - s - n - f"
    lengths, *_ = FIELDS["state"]
    # Read once, as one number: an expression is evaluated wherever its name is used.
    name, facts = (10 ** FIELDS[name][1] for name in ("name", "facts"))

    def head(start: str) -> str:
        """Return the length of a record, and those of its texts if it is one of a run."""
        kind = of.part("raw", LENGTH, 1, start)
        texts = of.part("number", lengths, TEXTS - lengths, start)
        length = of.part("number", 0, LENGTH, start)
        return f"{length}, CASE WHEN {kind} = {of.run} THEN {texts} ELSE 0 END"

    # In this order: after a statement that begins with WITH, sqlite3 does not tell how many rows
    # were changed.
    return f"""
INSERT INTO @runs
WITH RECURSIVE heads(i, l, texts) AS (
  SELECT CAST(1 AS INT), {head("1")}
  UNION ALL SELECT i + l, {head("i + l")} FROM heads
  WHERE l > 0 AND i + l < :size
),
found AS (
  SELECT i, l, texts / {name * facts} AS s, texts / {facts} % {name} AS n, texts % {facts} AS f,
    {of.turn} AS turn
  FROM heads WHERE l > 0 AND texts > 0
)
SELECT {of.part("id", *FIELDS["run"])}, nullif({of.part("id", *FIELDS["parent"])}, {of.no_id}),
  {owner} * {1 << NUMBER_BITS} + {of.field("number")}, NULL, {of.field("created")},
  nullif({of.field("ended")}, 0), {of.part("text", TEXTS, "s")}, {of.field("last")},
  nullif({acks}, {of.no_acks}),
  CASE WHEN n > 0 THEN {of.part("text", f"{TEXTS} + s", "n")} END,
  CASE WHEN f > 0 THEN {of.part("raw", f"{TEXTS} + s + n", "f")} END,
  {of.part("raw", f"{TEXTS} + s + n + f", rest)}
FROM found WHERE {where}
ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, state = excluded.state,
  sequence = excluded.sequence, acks = excluded.acks, name = coalesce(excluded.name, @runs.name),
  facts = coalesce(excluded.facts, @runs.facts),
  events = CASE WHEN length(@runs.events) < {LONG} AND NOT {of.whole} THEN {of.joined}
    ELSE excluded.events END
WHERE excluded.sequence > @runs.sequence
"""


# Each segment tells again what its runs refer to, which is therefore not pruned.
_AGAIN: Final = "DO UPDATE SET told = excluded.told, closed = NULL"
PUT_DEFINITION: Final = f"INSERT INTO @definitions VALUES EACH ON CONFLICT (id) {_AGAIN}"
PUT_LIST: Final = f"INSERT INTO @hook_lists VALUES EACH ON CONFLICT (id) {_AGAIN}"
PUT_SET: Final = f"INSERT INTO @hook_sets VALUES EACH ON CONFLICT (owner, id) {_AGAIN}"
SEGMENT: Final = "UPDATE @owners SET since = ? WHERE id = ?"
# A delivered delivery stays delivered, and nothing older wins.
PUT_SETTLED: Final = (
    "INSERT INTO @deliveries VALUES EACH ON CONFLICT (run_id, sequence, ordinal) DO UPDATE SET"
    " status = excluded.status, attempts = excluded.attempts, updated = excluded.updated,"
    " due = excluded.due, error = excluded.error WHERE @deliveries.status <> 'delivered'"
    " AND excluded.updated >= @deliveries.updated"
)
# Many at a time, and without UPDATE ... FROM, which older SQLites do not know.
ACKNOWLEDGE: Final = (
    "INSERT INTO @runs SELECT r.id, r.parent, r.definition, r.keeper, r.created, r.ended, r.state,"
    " r.sequence, CAST(v.column3 AS BLOB), r.name, r.facts, r.events FROM (VALUES EACH) v"
    " JOIN @runs r ON r.id = CAST(v.column1 AS UUID) AND r.sequence = CAST(v.column2 AS INT)"
    # How many are done, and how many have begun: never fewer than before.
    " WHERE substr(CAST(v.column3 AS BLOB), 3, 1) > substr(r.acks, 3, 1)"
    " OR substr(CAST(v.column3 AS BLOB), 3, 1) = substr(r.acks, 3, 1)"
    " AND substr(CAST(v.column3 AS BLOB), 2, 1) >= substr(r.acks, 2, 1)"
    " ON CONFLICT (id) DO UPDATE SET acks = excluded.acks"
)
CHANGE: Final = "UPDATE @runs SET definition = ? WHERE definition = ? AND ended IS NULL"


def number_of(session: Session, owner: str) -> int:
    """Return the number of an owner; one that was never registered is added as one that ended."""
    text = "SELECT number FROM @owners WHERE id = ?"
    rows = session.all(text, (owner,))
    if not rows:
        now = datetime.now(UTC)
        unknown = OwnerRow(owner, "unknown", "", 0, now, None, None, (), "", ())
        put_owner(session, unknown, None, None)
        session.run(
            "UPDATE @owners SET ended = ?, reason = 'never registered' WHERE id = ?",
            (session.now(), owner),
        )
        rows = session.all(text, (owner,))

    return int(rows[0][0])


def write_others(session: Session, owner: str, others: Sequence[tuple[str, Any]]) -> None:
    """Write the records that are not of runs; those of the group's runs are written already."""
    if not others:
        return
    base = number_of(session, owner) << NUMBER_BITS
    of: dict[str, list[Any]] = {kind: [] for kind in "DLHCSAEGO"}
    for kind, content in others:
        of[kind].append(content)
    if of["D"] or of["L"] or of["H"] or of["O"]:
        _write_shared(session, owner, base, of)
    # One statement may change a row only once: of all about the same thing, the last that counts.
    settled: dict[Any, Settled] = {}
    for row in map(Settled._make, of["S"]):
        known = settled.get(row[:3])
        if known is None or (
            known.status != "delivered" and (row.updated or 0) >= (known.updated or 0)
        ):
            settled[row[:3]] = row
    session.many(PUT_SETTLED, _with_ids(session, settled.values()))
    acks: dict[Any, Acknowledged] = {}
    for ack in map(Acknowledged._make, of["A"]):
        acks[ack[:2]] = max(ack, acks.get(ack[:2], ack), key=_progress)
    rows = [(ack.run, ack.sequence, _bytes_of(ack)) for ack in acks.values()]
    session.many(ACKNOWLEDGE, _with_ids(session, rows))
    # A run that is newer than a change names the last definition anyway.
    for before, after in of["C"]:
        session.run(CHANGE, (base + after, base + before))
    _write_lines(session, owner, [*map(LogLine._make, of["G"])])


PUT_FOR_WORKERS: Final = "INSERT INTO @deliveries VALUES EACH ON CONFLICT DO NOTHING"


def put_for_workers(session: Session, data: bytes) -> None:
    """Make the deliveries to hooks that workers run, of the transitions in a group's runs.

    Together with the runs: no process is needed that would remember what was owed.
    """
    if MARK_OF_WORKERS not in data:
        return
    owed = [
        Settled(*(run_hex(record.run), event.sequence, ordinal, *hook, "pending", 0, event.at))
        for record in _marked(data)
        for event in transitions(record.run, record.created, record.events.encode(), record.first)
        if event.owed_to.startswith(FOR_WORKERS)
        for ordinal, hook in enumerate(session.workers_of(event.owed_to), WORKERS)
    ]
    session.many(PUT_FOR_WORKERS, _with_ids(session, owed))


def _marked(data: bytes) -> Iterator[RunRecord]:
    for kind, start, end in scan(data):
        if kind == "R" and data.find(MARK_OF_WORKERS, start, end) >= 0:
            yield RunRecord.read(data, start, end)


def _write_shared(session: Session, owner: str, base: int, of: dict[str, list[Any]]) -> None:
    """Write what runs refer to; one statement may change a row only once."""
    now = session.now()
    if of["O"]:
        session.run(SEGMENT, (now, owner))
    definitions = {
        each[0]: (base + each[0], *each[1:5], to_json(each[5]).decode(), *each[6:], now, None)
        # The first of the same number holds.
        for each in reversed(of["D"])
    }
    session.many(PUT_DEFINITION, definitions.values())
    lists = {key: (key, to_json(hooks).decode(), now, None) for key, *hooks in of["L"]}
    session.many(PUT_LIST, lists.values())
    sets = {each[0]: (owner, *each, now, None) for each in of["H"]}
    session.many(PUT_SET, sets.values())


# -- lines that were logged -----------------------------------------------------------------------

FIRST_LINES: Final = 200
"""How many of the first lines of a run are kept."""

LAST_LINES: Final = 2_000
"""How many of its last lines are kept; those in between are deleted."""

BESIDE: Final = 40
"""How many bytes a line takes beside its texts, roughly."""

RUNS_AT_ONCE: Final = 500
"""Of how many runs it is read at a time how much they have logged."""

PUT_LINE: Final = "INSERT INTO @logs VALUES EACH ON CONFLICT (run_id, sequence) DO NOTHING"
KNOW_LOGGED: Final = "INSERT INTO @logged VALUES EACH ON CONFLICT (run_id) DO NOTHING"
PUT_LOGGED: Final = (
    "INSERT INTO @logged VALUES EACH ON CONFLICT (run_id) DO UPDATE SET"
    " count = excluded.count, size = excluded.size"
)
_TEXTS: Final = f"{BESIDE} + length(logger) + length(message) + coalesce(length(error), 0)"
MIDDLE: Final = "FROM @logs WHERE run_id = ? AND sequence > ? AND sequence <= ?"


def _write_lines(session: Session, owner: str, lines: Sequence[LogLine]) -> None:
    """Add lines to those of their runs, but for those that were written before."""
    if not lines:
        return
    # An owner has its lines committed in their order.
    text = f"SELECT logged FROM @owners WHERE id = ?{session.FOR_CHANGE}"
    before = int(session.all(text, (owner,))[0][0])
    # An append that was interrupted may have been repeated.
    new = {line.number: line for line in lines if line.number > before}
    if not new:
        return
    session.run("UPDATE @owners SET logged = ? WHERE id = ?", (max(new), owner))
    added: dict[int, list[LogLine]] = {}
    for line in new.values():
        added.setdefault(int(line.run, 16), []).append(line)
    # Always in this order, so that no two processes wait for each other.
    keys = {session.id(run): added[run] for run in sorted(added)}
    logged = _logged(session, [*keys])
    session.many(PUT_LINE, [row for key, some in keys.items() for row in _kept(key, some, logged)])
    session.many(PUT_LOGGED, [_without_middle(session, key, *logged[key]) for key in keys])


def _logged(session: Session, keys: Sequence[Any]) -> dict[Any, tuple[int, int]]:
    """Return how many lines each of these runs has had, and how large those are that are kept."""
    session.many(KNOW_LOGGED, [(key, 0, 0) for key in keys])
    found: dict[Any, tuple[int, int]] = {}
    for start in range(0, len(keys), RUNS_AT_ONCE):
        some = keys[start : start + RUNS_AT_ONCE]
        marks = ", ".join("?" * len(some))
        text = f"SELECT run_id, count, size FROM @logged WHERE run_id IN ({marks}) ORDER BY run_id"
        for key, count, size in session.all(f"{text}{session.FOR_CHANGE}", some):
            found[key] = int(count), int(size)

    return found


def _kept(
    key: Any, lines: Sequence[LogLine], logged: dict[Any, tuple[int, int]]
) -> list[tuple[Any, ...]]:
    """Return those of a run's next lines that are to be kept, as rows; all are counted."""
    count, size = logged[key]
    sequences = [count := count + line.skipped + 1 for line in lines]
    rows = [
        (key, sequence, line.at, line.level, line.logger, line.message, line.error)
        for sequence, line in zip(sequences, lines, strict=True)
        if sequence <= FIRST_LINES or sequence > count - LAST_LINES
    ]
    size += sum(BESIDE + sum(len(text or "") for text in row[-3:]) for row in rows)
    logged[key] = count, size

    return rows


def _without_middle(session: Session, key: Any, count: int, size: int) -> tuple[Any, int, int]:
    """Delete the lines between a run's first and its last ones; return its row of `logged`."""
    middle = (key, FIRST_LINES, count - LAST_LINES)
    if count - LAST_LINES > FIRST_LINES:
        size -= int(session.all(f"SELECT coalesce(sum({_TEXTS}), 0) {MIDDLE}", middle)[0][0])
        session.run(f"DELETE {MIDDLE}", middle)

    return key, count, size


def trim_lines(session: Session, limit: int) -> int:
    """Delete all lines of the oldest runs, until the rest is no larger; return of how many runs."""
    found = session.all(
        "SELECT run_id FROM (SELECT run_id, sum(size) OVER (ORDER BY run_id DESC) AS total"
        " FROM @logged WHERE size > 0) f WHERE total > ? ORDER BY run_id",
        (limit,),
    )
    for key in found:
        session.run("UPDATE @logged SET size = 0 WHERE run_id = ?", key)
        session.run("DELETE FROM @logs WHERE run_id = ?", key)

    return len(found)


def put_settled(session: Session, row: Settled) -> int:
    """Write the status of one delivery; return 0 if it is delivered already."""
    text = PUT_SETTLED.replace("EACH", f"({', '.join('?' * len(row))})")

    return session.run(text, *_with_ids(session, [row]))


def _with_ids(session: Session, rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """Return rows that begin with the id of a run as the database has them."""
    return [(session.id(int(run, 16)), *rest) for run, *rest in rows]


def _progress(ack: Acknowledged) -> tuple[int, int]:
    return ack.done, ack.begun


def _bytes_of(row: Acknowledged) -> bytes:
    return bytes((row.owed, row.begun, row.done)) + row.at.to_bytes(8)
