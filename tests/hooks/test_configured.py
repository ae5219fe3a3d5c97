"""Hooks of configuration: recorded as what they are made of, and made again from that."""

from __future__ import annotations

import json
from typing import Any, Self

import pytest

from eventflow import Hook, StateType
from eventflow.errors import HookUnavailable
from eventflow.hooks.configured import ConfiguredHook, Find
from eventflow.hooks.importability import import_problem
from eventflow.hooks.sets import RecordedHook
from eventflow.journal.rows import OwnerRow
from eventflow.recovery.lookup import Lookup
from eventflow.recovery.reloading.loading import Reloader
from tests.journal.rows import an_owner


class Greeting(ConfiguredHook):
    """A hook that is made of a word."""

    default_states = StateType.FAILED

    def __init__(self, word: str, why_not: str | None = None) -> None:
        self.__module__ = __name__
        self.__qualname__ = f"greet({word})"
        self.word: Any = word
        self.why_not = why_not

    def __call__(self, definition: Any, run: Any, state: Any) -> None:
        """Do nothing."""

    def problem(self) -> str | None:
        """Return what it was made with."""
        return self.why_not

    def configuration(self) -> Any:
        """Return the word."""
        return {"word": self.word}

    @classmethod
    def restored(cls, configuration: Any, find: Find) -> Self:
        """Make it of a word; some are refused."""
        if configuration["word"] == "lost":
            raise LookupError("the word is lost.")

        return cls(find(configuration["word"]) if ":" in configuration["word"] else "hello")


@pytest.fixture
def owner() -> OwnerRow:
    return an_owner("owner")


def recorded(hook: Hook) -> RecordedHook:
    """Return what another process reads of a hook."""
    (read,) = RecordedHook.read(json.dumps({"hooks": [json.loads(RecordedHook.of(hook).text())]}))

    return read


def test_it_has_a_name_and_states_of_its_own() -> None:
    """Which a declaration may replace."""
    hook = Hook(Greeting("hello"))
    assert hook.id == f"{__name__}:greet(hello)"
    assert hook.state is StateType.FAILED
    assert Hook(Greeting("hello"), state="Late", id="other").on(None, 5).state is None
    assert Hook(Greeting("hello"), state="Late").state == "Late"
    assert Hook(Greeting("hello"), state=None, lasting=1).state is None


def test_it_is_recorded_as_its_configuration() -> None:
    """And read back: no place in a file is recorded."""
    read = recorded(Hook(Greeting("hello"), retries=2))
    assert read.reference == f"{__name__}:Greeting"
    assert read.configuration == {"word": "hello"}
    assert read.retries == 2


def test_one_with_a_problem_is_handed_over_by_value() -> None:
    hook = Hook(Greeting("hello", "is shy"))
    assert import_problem(hook) == "is shy"
    read = recorded(hook)
    assert (read.reference, read.configuration, read.problem) == (None, None, "is shy")


def test_it_is_made_again(owner: OwnerRow) -> None:
    """Two of one class are two."""
    lookup = Lookup({}, Reloader(owner), {})
    hooks = [
        lookup.fetch(recorded(Hook(Greeting(word)))) for word in ("hello", "hello", "json:dumps")
    ]
    first, second, third = (hook.fn for hook in hooks)
    assert isinstance(first, Greeting)
    assert isinstance(third, Greeting)
    assert first is second
    assert third.word is json.dumps
    assert hooks[2].id == f"{__name__}:greet(json:dumps)"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"configuration": {"word": "lost"}}, "it cannot be made again: the word is lost. Once"),
        ({"configuration": {"word": "json:nothing"}}, "there is no nothing in json"),
        ({"configuration": {}}, "it cannot be made again: 'word'"),
        ({"reference": "json:dumps"}, "json:dumps makes no hook of a configuration"),
        ({"reference": "builtins:dict"}, "builtins:dict makes no hook of a configuration"),
    ],
)
def test_one_that_cannot_be_made_again_is_unavailable(
    changed: dict[str, Any], reason: str, owner: OwnerRow
) -> None:
    """Nothing is called that is no such class, whatever a journal says."""
    read = recorded(Hook(Greeting("hello")))._replace(**changed)
    with pytest.raises(HookUnavailable, match=reason):
        Lookup({}, Reloader(owner), {}).fetch(read)
