"""The story of a run's end: its error, where that was raised, and who ended the run and how."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from eventflow.client.archive import Archive, RunTransition
from eventflow.client.records import RunRecord
from eventflow.hooks.references import parse_reference
from eventflow.journal.rows import OwnerRow
from eventflow.owners.leftovers import row_of
from eventflow.primitives.callables import MAIN
from eventflow.states.records import ErrorInfo

__all__ = ["Story", "story_of"]

_FRAME: Final = re.compile(r'^\s*File "(.+)", line (\d+), in (.+)$', re.MULTILINE)


class Story(NamedTuple):
    """What became of a run.

    `error` is that of its last state that has one, `where` the place it was raised at; `owner` the
    process that executed it; `after` how long after the last transition by that process it was
    found dead; `again` a command that runs the flow once more.
    """

    error: ErrorInfo | None
    message: str | None
    where: str | None
    owner: OwnerRow | None
    after: timedelta | None
    again: str | None


def story_of(archive: Archive, run: RunRecord, events: Sequence[RunTransition]) -> Story:
    """Return the story of a run with these events."""
    state = events[-1].to_state if events else run.state
    error = next((each.to_state.error for each in reversed(events) if each.to_state.error), None)
    if state.is_completed():
        error = None
    owner = row_of(archive.journal, run.owner)
    after = None
    if state.is_crashed() and error is None and len(events) > 1:
        after = events[-1].occurred - events[-2].occurred

    return Story(error, state.message, _where(error), owner, after, _again(run, owner))


def _where(error: ErrorInfo | None) -> str | None:
    """Return the innermost place of a traceback."""
    frames = _FRAME.findall(error.traceback) if error is not None else []
    if not frames:
        return None
    file, line, name = frames[-1]

    return f"{file}:{line} in {name}"


def _again(run: RunRecord, owner: OwnerRow | None) -> str | None:
    """Return the command that runs a flow with the same parameters."""
    at = parse_reference(run.definition)
    source = at.file or at.module
    if at.module == MAIN and owner is not None:
        source = owner.main_module or owner.main_file or ""
    if run.run_type != "flow" or not source or not at.path or "<" in at.path:
        return None
    words = ["eventflow", "run", f"{source}:{at.path}"]
    values = run.parameters if isinstance(run.parameters, dict) else {}
    for name, value in values.items():
        words += _words(f"--{name.replace('_', '-')}", value)

    return shlex.join(words)


def _words(option: str, value: Any) -> Iterator[str]:
    """Yield the words that give a parameter."""
    if isinstance(value, bool):
        yield option if value else f"--no-{option[2:]}"
    elif isinstance(value, list) and value and all(isinstance(each, str | int) for each in value):
        for each in value:
            yield from (option, str(each))
    elif value is not None:
        yield from (option, value if isinstance(value, str) else json.dumps(value))
