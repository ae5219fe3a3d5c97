"""What is secret in values and in texts, and how it is masked."""

from __future__ import annotations

import dataclasses
import re
import reprlib
import string
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from types import MemberDescriptorType
from typing import Any, Final

import pydantic

from eventflow.primitives.texts import printable
from eventflow.settings import EVENTFLOW_MASK_SECRETS, MASK

__all__ = [
    "attributes_of",
    "described",
    "formatted",
    "has_credentials",
    "holds_secrets",
    "is_secret_name",
    "is_secret_value",
    "masked_text",
    "masking",
    "secret_types",
    "secrets_in",
    "without_secrets",
]


@cache
def secret_types() -> tuple[
    type[pydantic.SecretStr], type[pydantic.SecretBytes], type[pydantic.Secret[Any]]
]:
    """Return the types of pydantic for secrets; asking for them loads much of it."""
    return (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret)


MIN_LENGTH: Final = 3
"""How long a secret is at least that is masked within a text: a shorter one is in every word."""

_MAX_DEPTH: Final = 20

# -- names ---------------------------------------------------------------------------------------

_WORDS: Final = frozenset(
    """
    password passwords passwd pwd passphrase token secret secrets apikey authorization
    credential credentials
    """.split()  # noqa: SIM905 - one word a line is no gain
)
_PAIRS: Final = frozenset(
    (first, second)
    for first in ("api", "access", "private", "auth", "refresh")
    for second in ("key", "keys", "tokens")
)
_ENDINGS: Final = ("password", "passwd", "passphrase", "token", "secret", "apikey")
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+|\d+")


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Return whether a parameter or a key is called like a secret: `db_password`, `apiKey`."""
    words = [word.lower() for word in _WORD.findall(name)]

    return (
        not _WORDS.isdisjoint(words)
        or not _PAIRS.isdisjoint(pairwise(words))
        or any(word.endswith(_ENDINGS) for word in words)
    )


# -- texts ---------------------------------------------------------------------------------------

_NAMES: Final = r"(?:password|passwd|pwd|passphrase|token|secret|api_?key|authorization)"
# The userinfo of a URL: up to the last `@` before the path, or behind a user, where a password may
# have been written with a slash in it. A port is none.
_USERINFO: Final = re.compile(
    r"(?<=://)(?:[^\s/?#\"'<>]*(?=@)|[^\s/:@\"'<>]*:(?!\d+(?:[/?#]|$))[^\s\"'<>]+(?=@))"
)
_ASSIGNED: Final = re.compile(
    rf"(\b\w*{_NAMES}\w*['\"]?\s*[=:]\s*)(?!None\b|True\b|False\b|Secret)"
    r"(b?'[^']*'?|b?\"[^\"]*\"?|[^\s,;&)}\]]+)",
    re.IGNORECASE,
)


def masked_text(text: str) -> str:
    """Mask the credentials of URLs, and what is assigned to a name that is called like a secret."""
    if "@" in text:
        text = _USERINFO.sub(MASK, text)

    return _ASSIGNED.sub(rf"\g<1>{MASK}", text) if "=" in text or ":" in text else text


def has_credentials(text: str) -> bool:
    """Return whether a text would be recorded with something masked."""
    if "@" in text and "://" in text and _USERINFO.search(text):
        return True

    # Prose with `token: x` is no secret; a connection string or a query is.
    return "=" in text and any("=" in found[1] for found in _ASSIGNED.finditer(text))


class _Brief(reprlib.Repr):
    """Describes any value in about a line."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 6
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write more than 4300 digits.
        return super().repr_int(x, level) if x.bit_length() <= 8192 else "<a huge int>"  # noqa: PLR2004

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002 - as reprlib calls it
        # Cut first: the repr of all bytes would be four times as long.
        if len(x) <= self.maxstring:
            return repr(x)
        return f"{x[: self.maxstring]!r}... ({len(x)} bytes)"

    repr_bytearray = repr_bytes

    def repr_str(self, x: str, level: int) -> str:  # noqa: ARG002 - as reprlib calls it
        # Masked first: half a URL is not recognised.
        text = masked_text(x[:10_000])

        return repr(text) if len(text) <= self.maxstring else f"{text[: self.maxstring]!r}..."


_brief: Final = _Brief()


def described(value: object) -> str:
    """Describe any value in about a line, with what looks like a secret masked."""
    try:
        return masked_text(printable(_brief.repr(value)))
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may do anything
        return f"<{type(value).__qualname__}, whose repr raised {type(error).__name__}>"


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Mask each of the secrets wherever it is in a text."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= MIN_LENGTH:
            text = text.replace(secret, MASK)

    return text


def masking(parameters: Mapping[str, Any]) -> Callable[[str], str]:
    """Return what masks secrets in the texts of a run, also those among its parameters."""
    if not EVENTFLOW_MASK_SECRETS.value():
        return str
    secrets = secrets_in(dict(parameters))

    return lambda text: without_secrets(masked_text(text), secrets)


class _Formatter(string.Formatter):
    """Formats templates, with what is called like a secret masked."""

    def get_field(
        self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        value, first = super().get_field(field_name, args, kwargs)
        secret = any(map(is_secret_name, _PARTS.findall(field_name)))

        return (MASK if secret and is_secret_value(value) else value), first


_formatter: Final = _Formatter()
_PARTS: Final = re.compile(r"[.\[](\w+)")
"""Finds the names of attributes and items in a template: `token` in `{a.token}`, `{a[token]}`."""


def formatted(template: str, values: Mapping[str, Any]) -> str:
    """Fill in a template, with attributes and items masked that are called like a secret.

    Raises:
        Exception: what `str.format` raises.
    """
    if any(map(is_secret_name, _PARTS.findall(template))):
        return _formatter.vformat(template, (), values)

    return template.format(**values)


# -- values --------------------------------------------------------------------------------------


def is_secret_value(value: object) -> bool:
    """Return whether a value that is called like a secret can be one: a bool or None cannot."""
    return value is not None and not isinstance(value, bool)


def secrets_in(value: object, *, raw: bool = False, depth: int = _MAX_DEPTH) -> set[str]:
    """Return the texts in a value that are secret: by their type, or by what they are called.

    With `raw` every text in it is: it was given for an annotation that asks for a secret.
    """
    if isinstance(value, secret_types()):
        return secrets_in(value.get_secret_value(), raw=True, depth=depth)
    if isinstance(value, str):
        return {value} if raw else {found[0] for found in _USERINFO.finditer(value)}
    if isinstance(value, bytes):
        return {value.decode("latin-1")} if raw else set()
    if not depth or value is None or isinstance(value, bool):
        return set()
    items = _items(value)
    if items is None:
        return {str(value)} if raw and isinstance(value, int | float) else set()
    found: set[str] = set()
    for name, item in items:
        secret = raw or (isinstance(name, str) and is_secret_name(name))
        found |= secrets_in(item, raw=secret, depth=depth - 1)

    return found


def _items(value: Any) -> Iterator[tuple[object, object]] | None:
    """Return what a value is made of, with the names of it; None for what is one piece."""
    if isinstance(value, Mapping):
        return iter(list(value.items()))
    if isinstance(value, list | tuple | set | frozenset):
        return ((None, item) for item in list(value))
    if isinstance(value, pydantic.BaseModel) or dataclasses.is_dataclass(value):
        return iter(list(getattr(value, "__dict__", {}).items()))

    return None


def attributes_of(value: object) -> dict[str, object]:
    """Return the attributes of an object or a class, also those in slots and of its classes."""
    found: dict[str, object] = {}
    kind = value if isinstance(value, type) else type(value)
    for base in reversed(kind.__mro__):
        found |= vars(base)
    for name, item in found.items():
        if isinstance(item, MemberDescriptorType) and value is not kind:
            found[name] = getattr(value, name, None)
    found |= getattr(value, "__dict__", {})

    # The annotations of a class have the names of secrets, and none of their values.
    return {name: item for name, item in found.items() if not name.startswith("__")}


# -- annotations ---------------------------------------------------------------------------------


def holds_secrets(annotation: Any, seen: Collection[Any] = ()) -> bool:
    """Return whether an annotation asks for a secret, anywhere within it."""
    if isinstance(annotation, type) and issubclass(annotation, secret_types()):
        return True
    if any(annotation is known for known in seen):
        return False
    seen = [*seen, annotation]
    origin = typing.get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, secret_types()):
        return True
    inner = [*typing.get_args(annotation), *_field_types(annotation)]
    value = getattr(annotation, "__value__", None)  # of a `type X = ...`
    if value is not None:
        inner.append(value)

    return any(holds_secrets(part, seen) for part in inner)


def _field_types(annotation: Any) -> list[Any]:
    if not isinstance(annotation, type):
        return []
    if issubclass(annotation, pydantic.BaseModel):
        return [field.annotation for field in annotation.model_fields.values()]
    if dataclasses.is_dataclass(annotation) or hasattr(annotation, "__total__"):
        try:
            return list(typing.get_type_hints(annotation).values())
        except Exception:  # noqa: BLE001 - an annotation may be any expression
            return []

    return []
