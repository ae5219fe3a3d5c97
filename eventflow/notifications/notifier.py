"""`notify`: makes a hook that tells people what happened to a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self, TypeAlias

from pydantic import SecretStr

from eventflow.context import current_hook
from eventflow.errors import EventflowError, HomeError, NotificationError, StoreError
from eventflow.eventbus.filters import Filter
from eventflow.eventbus.selections import States
from eventflow.hooks.configured import ConfiguredHook, Find
from eventflow.hooks.declaration import Hook
from eventflow.hooks.importability import function_problem
from eventflow.hooks.references import function_reference
from eventflow.hooks.sets import RecordedHook
from eventflow.notifications.limits import AGAIN_SECONDS, Held, Limit, Limits, limits_of
from eventflow.notifications.log_lines import last_lines
from eventflow.notifications.reminders import remind
from eventflow.notifications.targets import Target, read_target, restored_target
from eventflow.notifications.texts import Notification, check_template, span
from eventflow.primitives.durations import read_seconds
from eventflow.primitives.ids import new_id
from eventflow.primitives.loading import load
from eventflow.primitives.loggers import get_logger
from eventflow.runs.run import Run, RunType
from eventflow.states import StateType
from eventflow.states.state import AnyState

if TYPE_CHECKING:
    from eventflow.blocks.notifications import Kind

__all__ = ["Notifier", "Template", "When", "notify"]

Template: TypeAlias = str | Callable[[Notification], str] | None
"""Text with names in braces, or a function that returns it; None for the default text."""

When: TypeAlias = Callable[[Any, Any, Any], object] | Mapping[str, Any] | None
"""A function of `(definition, run, state)`, or the keywords `run_type`, `state`, `name`, `tags`."""

PER_MINUTE: Final = 20
_MINUTE: Final = 60.0
_KEYWORDS: Final = ("run_type", "state", "name", "tags")

_log: Final = get_logger("notifications")


def notify(
    *urls: str | SecretStr,
    template: Template = None,
    when: When = None,
    group_seconds: float | timedelta | None = None,
    per_minute: int | None = PER_MINUTE,
    timeout_seconds: float | timedelta = 30.0,
) -> Notifier:
    """Make a hook that notifies Slack, mail, Teams, PagerDuty or another service.

    It is a hook as any other: `@flow(on_failure=[notify("slack://...")])`. Where its declaration
    names no state, as with `hook()` or `Hook(...)`, it is for Failed and Crashed: a run that will
    be retried is in neither.

    Args:
        urls: URLs that apprise understands; `"env:SLACK_URL"` for those that a variable holds when
            a notification is sent; `"slack-webhook/alerts"` for a saved block. URLs are encrypted
            where they are recorded, with the key of blocks.
        template: the text, with the names of facts in braces: `"{name}: {error} ({link})"`; or a
            function that takes a `Notification`, which lists the facts, and returns the text.
        when: whether to notify: a function of `(definition, run, state)`, or a mapping with any of
            `run_type`, `state`, `name` and `tags`, as for `hook`.
        group_seconds: notify once of what is alike in so many seconds: the same flow or task, the
            same state, the same type of error at the same line. How many there were is told then.
        per_minute: how many notifications are sent in a minute; how many more there were is told
            then. None for no limit.
        timeout_seconds: how long one attempt may take for each URL or block.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: an argument has a wrong value.
        MissingExtraError: apprise is not installed.
    """
    if not urls:
        raise TypeError("notify(...) needs at least one URL, such as notify('slack://...').")
    if per_minute is not None and (isinstance(per_minute, bool) or not isinstance(per_minute, int)):
        raise TypeError(f"per_minute must be a whole number or None, but got {per_minute!r}.")
    if per_minute is not None and per_minute < 1:
        raise ValueError(f"per_minute must be at least 1, or None, but got {per_minute!r}.")
    if not (template is None or isinstance(template, str) or callable(template)):
        raise TypeError(f"template must be a string or a function, but got {template!r}.")
    if isinstance(template, str):
        check_template(template)
    if group_seconds is not None:
        group_seconds = read_seconds("group_seconds", group_seconds)
    limits = {
        "group_seconds": group_seconds,
        "per_minute": per_minute,
        "timeout_seconds": read_seconds("timeout_seconds", timeout_seconds),
    }
    module = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001 - documented
    targets = [read_target(url, place) for place, url in enumerate(urls, start=1)]

    return Notifier(module, targets, template, _read_when(when), limits)


def _read_when(when: When) -> Any:
    """Return a predicate as it is, and conditions as a hook that selects by them."""
    if when is None or not isinstance(when, Mapping):
        if when is not None and not callable(when):
            raise TypeError(f"when must be a function or a mapping, but got {when!r}.")
        return when
    unknown = ", ".join(sorted(map(str, when.keys() - set(_KEYWORDS))))
    if unknown:
        raise TypeError(f"when selects by {', '.join(_KEYWORDS)}; there is no {unknown}.")

    return Hook(_no_hook, **when)


def _no_hook(definition: Any, run: Any, state: Any) -> None:
    """Do nothing: the hook only selects."""


class _Subject(NamedTuple):
    """What the conditions of a filter look at."""

    run_type: RunType
    to_state: AnyState
    definition_name: str
    tags: frozenset[str]


class Notifier(ConfiguredHook):
    """A hook that notifies; made by `notify`."""

    default_states: ClassVar[States] = (StateType.FAILED, StateType.CRASHED)

    def __init__(
        self,
        module: str,
        targets: Sequence[Target],
        template: Template,
        when: Any,
        limits: Mapping[str, Any],
    ) -> None:
        self.__module__ = module
        self.__qualname__ = f"notify({', '.join(target.label for target in targets)})"
        self._targets = tuple(targets)
        self._template = template
        self._when = when
        self._limits = dict(limits)

    def __repr__(self) -> str:
        return f"<{self.__qualname__}>"

    def __call__(self, definition: Any, run: Run, state: AnyState) -> None:
        """Notify, unless that is not wanted, or too many notifications were sent.

        Raises:
            NotificationError: a service did not accept it; others have been notified nevertheless.
        """
        if not self._is_wanted(definition, run, state):
            return
        notification = Notification.of(definition, run, state)
        hook = current_hook.get()
        delivery = str(new_id() if hook is None else hook.delivery_id)
        self.tell_held()
        held_for = self._held_for(delivery, notification)
        if held_for is not None:
            _log.debug(f"{self.__qualname__} is held back: {notification.title}")
            self._remind(held_for)
            return
        try:
            text = notification.with_log(last_lines(run.id)).formatted(self._template)
            self._send(notification.title, text, notification.kind, delivery)
        except Exception:
            # Else what is alike would be held back behind what nobody was told.
            if self._is_limited:
                with self._unlimited("may hold others back"):
                    self._ledger.withdraw(delivery)
            raise

    def _is_wanted(self, definition: Any, run: Run, state: AnyState) -> bool:
        if self._when is None:
            return True
        if not isinstance(self._when, Hook):
            return bool(self._when(definition, run, state))
        conditions: Filter = self._when.filter()

        return conditions.admits_fact(
            _Subject(run.run_type, state, run.definition_name, run.tag_set)
        )

    def _send(self, title: str, text: str, kind: Kind, delivery: str = "") -> None:
        accepted = self._accepted(delivery)
        refusals = []
        for place, target in enumerate(self._targets):
            if place in accepted:
                continue
            refusal = self._refusal(target, title, text, kind)
            if refusal is None:
                accepted.add(place)
            else:
                refusals.append(f"{target.label}: {refusal}")
        if not refusals:
            return
        if accepted and delivery:
            with self._unlimited("may notify some twice"):
                self._ledger.accept(delivery, accepted)
        raise NotificationError(self.__qualname__, "; ".join(refusals))

    def _refusal(self, target: Target, title: str, text: str, kind: Kind) -> str | None:
        """Send to one target; return why that failed, or None."""
        try:
            # Loaded where it is used: an import of blocks builds their models.
            channels = load("eventflow.notifications.channels")
            channels.send(target, title, text, kind, self._limits["timeout_seconds"])
        except NotificationError as error:
            return error.reason
        except EventflowError as error:
            return str(error).removesuffix(".")
        except Exception as error:  # noqa: BLE001 - a block raises anything, with a URL in it
            return f"failed with {type(error).__name__}"

        return None

    def _accepted(self, delivery: str) -> set[int]:
        """Return the targets that have accepted a delivery of which an earlier attempt failed."""
        if delivery and len(self._targets) > 1:
            with self._unlimited("may notify some twice"):
                return self._ledger.accepted(delivery)

        return set()

    # -- limits -----------------------------------------------------------------------------

    @property
    def _is_limited(self) -> bool:
        return (self._limits["group_seconds"], self._limits["per_minute"]) != (None, None)

    @property
    def _ledger(self) -> Limits:
        return limits_of(self._key)

    @cached_property
    def _key(self) -> str:
        # The URLs tell notifiers apart; the file is as private as the key of blocks.
        urls = [target.text.get_secret_value() for target in self._targets]
        facts = json.dumps([self.__module__, *urls, self._limits])

        return blake2b(facts.encode(), digest_size=16).hexdigest()

    @contextmanager
    def _unlimited(self, consequence: str) -> Iterator[None]:
        """Only log where nothing can be counted: what is to be told is worth more."""
        try:
            yield
        except (StoreError, HomeError) as error:
            _log.warning(f"{self.__qualname__} {consequence}: {error}")

    def _held_for(self, delivery: str, notification: Notification) -> float | None:
        """Return None if a notification is to be sent now, else in how long it is told of."""
        limits = []
        if self._limits["group_seconds"] is not None:
            limits.append(Limit(notification.likeness, self._limits["group_seconds"], 1))
        if self._limits["per_minute"] is not None:
            limits.append(Limit("", _MINUTE, self._limits["per_minute"]))
        if limits:
            with self._unlimited("sends without a limit"):
                summary = notification.summary
                return self._ledger.admit(delivery, limits, notification.title, summary)

        return None

    def tell_held(self, *, ending: bool = False) -> None:
        """Tell how many notifications were held back, where the time is over for which they are.

        If the process is `ending`, also what it has held back itself, behind the first, which it
        has sent. What fails is logged, and tried again later.
        """
        if not self._is_limited:
            return
        try:
            due = self._ledger.take_due()
            for held in [*due, *(self._ledger.take_own() if ending else ())]:
                self._send(held.title, _text_of(held), "warning")
                self._ledger.told(held)
        except (StoreError, HomeError, NotificationError) as error:
            # What is to be sent now must not wait for that.
            _log.error(f"{self.__qualname__} cannot tell what was held back: {error}")
            if not ending:
                self._remind(AGAIN_SECONDS)

    def _remind(self, seconds: float) -> None:
        at_end = partial(self.tell_held, ending=True)
        remind(self._key, seconds, self.tell_held, at_end)

    # -- in another process -----------------------------------------------------------------

    def problem(self) -> str | None:
        """Return why another process cannot make it again; None if it can."""
        for what, given in (("template", self._template), ("when", self._when)):
            if given is None or isinstance(given, str | Hook):
                continue
            problem = function_problem(given)
            if problem is not None:
                return f"has a `{what}` that {problem}"
        try:
            self._recorded_targets  # noqa: B018 - encrypts them
        except EventflowError as error:
            return f"has a URL that cannot be encrypted: {error}"

        return None

    @cached_property
    def _recorded_targets(self) -> list[str | dict[str, str]]:
        return [target.recorded() for target in self._targets]

    def configuration(self) -> dict[str, Any]:
        """Return all that it is made of, as JSON, its URLs encrypted."""
        template, when = self._template, self._when
        if template is not None and not isinstance(template, str):
            template = {"function": function_reference(template)}  # type: ignore[assignment]
        if isinstance(when, Hook):
            when = {"conditions": json.loads(RecordedHook.of(when).text())}
        elif when is not None:
            when = {"function": function_reference(when)}

        return {
            "name": [self.__module__, self.__qualname__],
            "targets": self._recorded_targets,
            "template": template,
            "when": when,
            "limits": self._limits,
        }

    @classmethod
    def restored(cls, configuration: Any, find: Find) -> Self:
        """Make it again; `find` gives the functions that the configuration names.

        Raises:
            EventflowError: a function is not there, a URL cannot be decrypted, or apprise is not
                installed.
        """
        recorded = enumerate(configuration["targets"], start=1)
        targets = [restored_target(target, place) for place, target in recorded]
        template, when = configuration["template"], configuration["when"]
        if isinstance(template, dict):
            template = find(template["function"])
        if when is not None:
            of_function = "function" in when
            when = find(when["function"]) if of_function else _conditions(when["conditions"])

        return cls(configuration["name"][0], targets, template, when, configuration["limits"])


def _conditions(recorded: Mapping[str, Any]) -> Hook:
    return RecordedHook(**recorded).hook(_no_hook)


def _text_of(held: Held) -> str:
    alike = "like it" if held.key else "more"
    last = f"The last of them:\n{held.text}" if held.text else ""

    return f"{held.number} {alike} in {span(held.seconds)}.\n{last}".strip()
