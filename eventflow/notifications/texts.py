"""What a notification says: the facts about a run and its state, and their text."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from eventflow.context import current_hook
from eventflow.primitives.durations import in_words
from eventflow.primitives.escapes import escaped, one_line
from eventflow.primitives.ids import run_label
from eventflow.primitives.texts import is_a
from eventflow.primitives.tracebacks import origin, origin_in
from eventflow.runs.run import Run
from eventflow.runtime import run_url
from eventflow.states import StateType
from eventflow.states.state import AnyState
from eventflow.values.masking import formatted, masking

if TYPE_CHECKING:
    from eventflow.blocks.notifications import Kind

__all__ = ["FIELDS", "Notification", "check_template", "span"]

_KINDS: Final[Mapping[StateType, Kind]] = {
    StateType.COMPLETED: "success",
    StateType.FAILED: "failure",
    StateType.CRASHED: "failure",
    StateType.CANCELLED: "warning",
    StateType.CANCELLING: "warning",
}
_REDUNDANT: Final = "The body raised "
"""Begins the message of most failures."""

_MENTION: Final = re.compile(r"@(?=(?:everyone|here|channel|all)\b)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """The facts about a run that has entered a state, as a `template` gets them.

    What is not known is empty: `error` and `where` (file and line) of a run that has not failed,
    `duration` (in words) of one that has not begun. `attempts` is how many there are at most. Known
    secrets are masked in all texts. `definition`, `run` and `state` are what the hook was given.
    """

    title: str
    """The first line, which is the subject of a mail: what happened to which run."""
    run_type: str
    name: str
    """The name of the flow or task."""
    run_name: str
    run_id: UUID
    tags: tuple[str, ...]
    state_name: str
    error: str
    where: str
    attempt: int
    attempts: int
    duration: str
    link: str
    """The address of the run's page."""
    log: str
    """The last lines of the run's log."""
    kind: Kind
    definition: Any = field(repr=False)
    run: Any = field(repr=False)
    state: Any = field(repr=False)

    @classmethod
    def of(cls, definition: Any, run: Run, state: AnyState) -> Notification:
        """Gather the facts, but for the log."""
        shown = masking(run.parameters)
        overdue = None if run.end_time is not None else _overdue_after()
        label = run_label(run.definition_name, run.name)
        became = state.name if overdue is None else f"is overdue after {in_words(overdue)}"

        return cls(
            title=f"{run.run_type.capitalize()} {_inert(f'{label}: {became}')}",
            run_type=run.run_type,
            name=_inert(run.definition_name),
            run_name=_inert(run.name),
            run_id=run.id,
            tags=tuple(map(_inert, run.tags)),
            state_name=_inert(state.name),
            error=_inert(shown(_error_of(state))),
            where=_inert(_where(state)),
            attempt=run.run_count,
            attempts=max(run.run_count, getattr(definition, "retries", 0) + 1),
            duration=_duration(run),
            link=run_url(run),
            log="",
            kind="warning" if overdue is not None else _KINDS.get(state.type, "info"),
            definition=definition,
            run=run,
            state=state,
        )

    def with_log(self, lines: Iterable[str]) -> Notification:
        """Return the same with the last lines of the run's log."""
        return replace(self, log="\n".join(map(_inert, map(masking(self.run.parameters), lines))))

    @property
    def likeness(self) -> str:
        """What notifications have in common that are alike: a group is told of at once."""
        error = self.state.detached().error
        kind = "" if error is None else error.type

        return f"{self.run_type}\n{self.name}\n{self.state_name}\n{kind}\n{self.where}"

    @property
    def summary(self) -> str:
        """The text in short, without the lines of the log."""
        attempts = (
            f"attempt {self.attempt} of {self.attempts}"
            if self.attempt and self.attempts > 1
            else ""
        )
        took = f"after {self.duration}" if self.duration else ""
        lines = [
            self.error,
            f"at {self.where}" if self.where else "",
            ", ".join(filter(None, [attempts, took])),
            f"tags: {', '.join(self.tags)}" if self.tags else "",
            self.link,
        ]

        return "\n".join(filter(None, lines))

    @property
    def text(self) -> str:
        """The default text."""
        if not self.log:
            return self.summary

        return f"{self.summary}\n\nThe last lines of its log:\n{self.log}"

    def formatted(self, template: str | Callable[[Notification], str] | None) -> str:
        """Return the text that a template makes of the facts; without one, the default text.

        Raises:
            TypeError: the template is a function, and does not return a string.
            Exception: what the template raises.
        """
        if template is None:
            return escaped(self.text)
        if isinstance(template, str):
            values = {name: _as_text(getattr(self, name)) for name in FIELDS}
            return escaped(formatted(template, values))
        made = template(self)
        if not isinstance(made, str):
            raise TypeError(f"A template must return a string, but it returned {type(made)}.")

        return escaped(made)


FIELDS: Final = (
    *("title", "text", "summary", "run_type", "name", "run_name", "run_id", "tags", "state_name"),
    *("error", "where", "attempt", "attempts", "duration", "link", "log"),
)
"""What a template that is a string may name, in braces."""


def check_template(template: str) -> None:
    """Check that a template names nothing but what there is.

    Raises:
        ValueError: it does, or its braces do not match.
    """
    for _, name, _, _ in string.Formatter().parse(template):
        if name is not None and name not in FIELDS:
            raise ValueError(
                f"The template of notify(...) names {{{name}}}, but there is only "
                f"{', '.join(FIELDS)}. For more, give a function, which takes a Notification."
            )


def span(seconds: float) -> str:
    """Return a duration in words, whole minutes as such: `5 minutes`."""
    minutes, rest = divmod(seconds, 60)
    if rest or not minutes:
        return in_words(seconds)

    return "1 minute" if minutes == 1 else f"{minutes:g} minutes"


def _inert(text: str) -> str:
    """Put a text into a line that mentions nobody: services look for these words anywhere."""
    return _MENTION.sub("@\u200b", one_line(text))


def _as_text(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _overdue_after() -> float | None:
    """Return after how long a run is overdue, where the hook in force is for that."""
    context = current_hook.get()

    return None if context is None else context.hook.overdue_seconds


def _error_of(state: AnyState) -> str:
    """Return the error of a state, else its message."""
    error = state.detached().error
    if error is not None and not state.message:
        return str(error)

    return (state.message or "").removeprefix(_REDUNDANT)


def _where(state: AnyState) -> str:
    if is_a(state.data, BaseException):
        return origin(state.data) or ""

    return "" if state.error is None else origin_in(state.error.traceback) or ""


def _duration(run: Run) -> str:
    if run.start_time is None:
        return ""
    took = (run.end_time or datetime.now(UTC)) - run.start_time

    return in_words(max(0.0, took.total_seconds()))
