"""Cache keys made of a task's function and the arguments of a call."""

from __future__ import annotations

import functools
import hashlib
import pickle
import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from eventflow.primitives.callables import qualified_name

if TYPE_CHECKING:
    from eventflow.context import TaskRunContext

__all__ = ["task_input_hash"]


def task_input_hash(context: TaskRunContext, parameters: Mapping[str, Any]) -> str | None:
    """Return a key for a task run: equal for calls of one function with equal arguments.

    To be given as `cache_key_fn`. It is None, and the result not cached, if an argument can
    neither be compared by its contents nor be pickled.
    """
    try:
        parts = [*_function(context.task.fn), _contents(dict(parameters))]
    except Exception:  # noqa: BLE001 - a user's class may do anything while it is pickled
        return None

    return hashlib.sha256("\n".join(parts).encode(errors="surrogatepass")).hexdigest()


def _function(fn: Any) -> list[str]:
    """Describe a function, with what a partial, a method or an object that is called adds to it."""
    if isinstance(fn, functools.partial):
        return [*_function(fn.func), _contents([fn.args, fn.keywords])]
    if isinstance(fn, types.MethodType):
        return [*_function(fn.__func__), _contents(fn.__self__)]
    if isinstance(fn, types.FunctionType):
        return [qualified_name(fn), _code(fn.__code__)]

    return [qualified_name(fn), _contents(fn)]


def _code(code: object) -> str:
    """Describe what a function does, so that one that was defined anew has other keys."""
    if not isinstance(code, types.CodeType):
        return repr(code)

    return f"{code.co_code.hex()} {code.co_names} {[_code(const) for const in code.co_consts]}"


_PLAIN: Final = frozenset({bool, bytes, complex, float, int, str, types.NoneType})
_UNORDERED: Final = frozenset({set, frozenset})
_COLLECTIONS: Final = _UNORDERED | {list, tuple}
_PICKLING: Final = ("__reduce_ex__", "__reduce__")


def _contents(value: Any) -> str:
    """Describe a value by its type and contents: equal values have equal texts.

    Pickles of equal values may differ: by what these share, and by what became of the classes of a
    script, which are packed with them. So the parts are described, and only what has a way of its
    own to be pickled is.
    """
    kind = type(value)
    if kind in _PLAIN:
        return f"{kind.__name__} {value!r}"
    if kind in _COLLECTIONS:
        items = [_contents(item) for item in value]
        return f"{kind.__name__} {sorted(items) if kind in _UNORDERED else items}"
    if kind is dict:
        return f"dict {sorted((_contents(key), _contents(item)) for key, item in value.items())}"
    if isinstance(value, type):
        return _name(value)
    if all(getattr(kind, name) is getattr(object, name) for name in _PICKLING):
        _, (_, *made_of), *parts = value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        parts = [list(part) if isinstance(part, Iterator) else part for part in parts]
        return f"{_name(kind)} {_contents([made_of, parts])}"

    import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - slow, and rarely needed

    return f"{_name(kind)} {hashlib.sha256(cloudpickle.dumps(value)).hexdigest()}"


def _name(kind: type) -> str:
    # Classes that a function defines may share their names.
    return f"{qualified_name(kind)} {id(kind) if '<locals>' in kind.__qualname__ else ''}"
