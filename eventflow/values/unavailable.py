"""`Unavailable`: stands for a value that could not be recorded, and raises when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Never, final

from eventflow.errors import UnavailableError

__all__ = ["Unavailable", "recorded_as"]


class _NoSuchProtocol(UnavailableError, AttributeError):
    """Raised for names such as `__rich__`, by which libraries ask what an object can do."""


@final
class Unavailable:
    """A value that a hook cannot have in another process; `repr` says why, every use raises.

    `isinstance(value, Unavailable)` tells it from a value. Comparing by `is` cannot raise.
    """

    __slots__ = ("_reason", "_shown")

    _reason: str
    _shown: object

    def __init__(self, reason: str, shown: object = None) -> None:
        object.__setattr__(self, "_reason", reason)
        object.__setattr__(self, "_shown", shown)

    def __repr__(self) -> str:
        return f"<Unavailable: {object.__getattribute__(self, '_reason')}>"

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Unavailable
        is_asked = name.startswith("__") and name not in _COPIES
        problem = _NoSuchProtocol if is_asked else UnavailableError
        raise problem(object.__getattribute__(self, "_reason"))


_COPIES: Final = frozenset({"__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__"})


def recorded_as(value: Unavailable) -> tuple[str, object]:
    """Return why a value is unavailable, and what the record shows in its place."""
    return object.__getattribute__(value, "_reason"), object.__getattribute__(value, "_shown")


def _refusal(name: str) -> Callable[..., Never]:
    def refuse(self: Unavailable, *_: object, **__: object) -> Never:
        raise UnavailableError(recorded_as(self)[0])

    refuse.__name__ = name
    refuse.__qualname__ = f"{Unavailable.__qualname__}.{name}"

    return refuse


_BINARY: Final = (
    "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or".split()  # noqa: SIM905
)
_USES: Final = (
    """
    str format bytes bool hash len length_hint call fspath reduce reduce_ex copy deepcopy buffer
    setattr delattr dir eq ne lt le gt ge instancecheck subclasscheck mro_entries
    iter next reversed contains getitem setitem delitem missing
    await aiter anext enter exit aenter aexit get set delete
    int float complex index neg pos abs invert round trunc floor ceil
    """.split()  # noqa: SIM905 - one word a line is no gain
    + [prefix + name for name in _BINARY for prefix in ("", "r", "i")]
)
"""The special methods by which Python uses a value."""

for _name in _USES:
    setattr(Unavailable, f"__{_name}__", _refusal(f"__{_name}__"))
