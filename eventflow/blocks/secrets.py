"""Secrets of blocks: extracting them, encrypting them at rest, and restoring them."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_jsonable_python

from eventflow.errors import BlockError, HomeError, MissingExtraError
from eventflow.primitives.ids import new_id
from eventflow.primitives.private_files import open_file, refuse_foreign
from eventflow.settings import EVENTFLOW_SECRET_KEY, MASK, home

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

__all__ = ["Sealed", "decrypt", "encrypt", "seal", "unseal"]

Place = tuple[str | int, ...]

KEY_FILE = "secret.key"
RESTORE = (
    "Restore the key it was saved under (the file, or EVENTFLOW_SECRET_KEY), "
    "or save the block again with overwrite=True."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A block's content: `data` with each secret masked, and those secrets in one cipher."""

    data: Mapping[str, Any]
    secrets: bytes | None


def seal(block: BaseModel) -> Sealed:
    """Split a block into plain JSON and encrypted secrets.

    Raises:
        BlockError: a value cannot be written as JSON, or the key in force is no key.
        MissingExtraError: there are secrets, and cryptography is not installed.
        HomeError: the key file cannot be made.
    """
    try:
        # round_trip leaves out computed fields, which no constructor would take back.
        data = block.model_dump(mode="json", by_alias=True, round_trip=True)
        secrets = list(_secrets_in(block.model_dump(by_alias=True, round_trip=True), data))

    except (PydanticSerializationError, UnicodeDecodeError) as error:
        kind = type(block).__name__
        raise BlockError(f"A {kind} block cannot be saved as JSON: {error}.") from None

    for place, _ in secrets:
        # A custom serializer may have written the secret into the JSON dump.
        _put_back(data, place, MASK)

    return Sealed(data=data, secrets=encrypt(json.dumps(secrets).encode()) if secrets else None)


def unseal(sealed: Sealed, what: str) -> dict[str, Any]:
    """Return the content with its secrets restored; `what` names the block in errors.

    Raises:
        BlockError: the secrets cannot be decrypted with the key in force.
        MissingExtraError: there are secrets, and cryptography is not installed.
    """
    data: dict[str, Any] = json.loads(json.dumps(sealed.data))
    if sealed.secrets is not None:
        for place, secret in json.loads(decrypt(sealed.secrets, what)):
            _put_back(data, place, secret)

    return data


def _secrets_in(value: object, dumped: object, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Walk a model's Python and JSON dumps in parallel, and yield each secret with its place."""
    if isinstance(value, SecretStr | SecretBytes | Secret):
        yield place, to_jsonable_python(value.get_secret_value())

    elif isinstance(value, Mapping) and isinstance(dumped, Mapping) and len(value) == len(dumped):
        for item, (key, shown) in zip(value.values(), dumped.items(), strict=True):
            yield from _secrets_in(item, shown, (*place, key))

    elif _is_plural(value) and _is_plural(dumped) and len(value) == len(dumped):
        for index, (item, shown) in enumerate(zip(value, dumped, strict=True)):
            yield from _secrets_in(item, shown, (*place, index))

    elif isinstance(value, Mapping) or _is_plural(value):
        _refuse_hidden_secrets(value, place)


def _is_plural(value: object) -> TypeGuard[Collection[object]]:
    return isinstance(value, list | tuple | set | frozenset | deque)


def _refuse_hidden_secrets(value: object, place: Place) -> None:
    if any(True for _ in _secrets_in(value, value)):
        where = ".".join(map(str, place))
        raise BlockError(
            f"The secrets in the field {where!r} would be lost, because its serializer changes "
            "the shape of the value; put each secret in a field of its own."
        )


def _put_back(data: Any, place: Sequence[str | int], secret: object) -> None:
    *parents, last = place
    for step in parents:
        data = data[step]

    data[last] = secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    text: str = field(repr=False)
    source: str


def encrypt(plain: bytes) -> bytes:
    """Encrypt bytes with the key in force, which is made if there is none.

    Raises:
        BlockError: the key in force is no key.
        MissingExtraError: cryptography is not installed.
        HomeError: the key file cannot be made.
    """
    _require_cryptography()
    return _fernet(_key(create=True)).encrypt(plain)


def decrypt(cipher: bytes, what: str) -> bytes:
    """Return what was encrypted; `what` names it in errors.

    Raises:
        BlockError: it cannot be decrypted with the key in force.
        MissingExtraError: cryptography is not installed.
    """
    _require_cryptography()
    from cryptography.fernet import InvalidToken  # noqa: PLC0415 - optional, and slow to import

    key = _key(create=False)
    try:
        return _fernet(key).decrypt(cipher)

    except InvalidToken:
        raise BlockError(
            f"The secrets of {what} cannot be decrypted with the key from {key.source}. {RESTORE}"
        ) from None


@lru_cache(maxsize=4)
def _fernet(key: _Key) -> Fernet:
    from cryptography.fernet import Fernet  # noqa: PLC0415 - optional, and slow to import

    try:
        return Fernet(key.text)

    except ValueError:
        raise BlockError(f"The key in {key.source} is not a Fernet key. {RESTORE}") from None


def _require_cryptography() -> None:
    try:
        import cryptography.fernet  # noqa: F401, PLC0415 - optional, and slow to import

    except ImportError:
        raise MissingExtraError("A block with a secret", "cryptography", "blocks") from None


def _key(*, create: bool) -> _Key:
    given = EVENTFLOW_SECRET_KEY.value()
    if given is not None:
        return _Key(text=given, source=EVENTFLOW_SECRET_KEY.name)

    path = home() / KEY_FILE
    if create and not path.exists():
        _create_key_file(path)

    try:
        refuse_foreign(path)
        return _Key(text=path.read_text("ascii", "replace").strip(), source=str(path))

    except FileNotFoundError:
        raise BlockError(f"The key file {str(path)!r} is missing. {RESTORE}") from None

    except OSError as error:
        raise HomeError(
            path.parent, f"its {path.name} cannot be read: {error.strerror or error}"
        ) from error


def _create_key_file(path: Path) -> None:
    """Make the key file atomically: of several processes, the first one's key is used by all."""
    from cryptography.fernet import Fernet  # noqa: PLC0415 - optional, and slow to import

    temporary = path.with_name(f".{path.name}.{new_id()}")
    try:
        descriptor = open_file(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())

        # Unlike a rename, a link never replaces a key that another process made meanwhile.
        with suppress(FileExistsError):
            os.link(temporary, path)

    except OSError as error:
        raise HomeError(path.parent, f"its {path.name} cannot be made: {error.strerror}") from error

    finally:
        temporary.unlink(missing_ok=True)
