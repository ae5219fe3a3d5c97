"""Hook functions that are objects of configuration, and are made again from it elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from eventflow.errors import EventflowError

if TYPE_CHECKING:
    from eventflow.eventbus.selections import States

__all__ = ["ConfiguredHook", "Find", "NotRetried"]

Find: TypeAlias = Callable[[str], Any]
"""Returns the function that a reference names; raises HookUnavailable if there is none."""


class NotRetried(EventflowError):
    """An attempt failed as every other would: its delivery is dead at once."""


class ConfiguredHook(ABC):
    """The base of hook functions that another process makes again from plain data.

    Its instances set `__module__` and `__qualname__`, which are the identity of their hooks.
    """

    default_states: ClassVar[States] = None
    """The states that its hooks select where the declaration names none."""

    @abstractmethod
    def __call__(self, definition: Any, run: Any, state: Any) -> object:
        """Do what the hook does."""

    @abstractmethod
    def problem(self) -> str | None:
        """Return why another process cannot make it again; None if it can."""

    @abstractmethod
    def configuration(self) -> Any:
        """Return all that it is made of, as JSON without a secret in clear."""

    @classmethod
    @abstractmethod
    def restored(cls, configuration: Any, find: Find) -> Self:
        """Make it again; `find` gives the functions that the configuration names.

        Raises:
            EventflowError: something that it needs cannot be had in this process.
        """
