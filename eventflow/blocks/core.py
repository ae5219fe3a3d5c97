"""`Block`: typed configuration that is saved under a name, with its secrets encrypted."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Generator
from functools import partial
from typing import Any, ClassVar, Self
from uuid import UUID

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, ValidationError

from eventflow.blocks.secrets import Sealed, seal, unseal
from eventflow.blockstore import BlockToSave, StoredBlock, open_store
from eventflow.errors import BlockError, BlockTypeError

__all__ = ["Block", "BlockId"]

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,199}")
WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+")
MAIN_MODULES = {"__main__", "__mp_main__"}


class BlockId(UUID):
    """The id of a saved block: a UUID that async code may await as well."""

    def __await__(self) -> Generator[None, None, Self]:
        yield from ()
        return self


class Block(BaseModel):
    """The base of every block: subclass it with typed fields, `SecretStr` for what is secret.

    A subclass is known by its slug: its class name in lower case with dashes (`MyService` is
    `my-service`), or what it sets as `_block_type_slug`. `load`, `save` and `delete` block
    for about a millisecond, and what they return is awaitable, so that `String.load("x")` and
    `await String.load("x")` both return the block. `aload`, `asave` and `adelete` run in a worker
    thread.
    """

    # Validation errors must not quote their input: it may be a secret.
    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        hide_input_in_errors=True,
        ser_json_inf_nan="constants",
    )

    _block_type_slug: ClassVar[str | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Register the new type for `Block.load`, unless it is abstract."""
        super().__pydantic_init_subclass__(**kwargs)
        if not inspect.isabstract(cls):
            _register(cls)

    def __await__(self) -> Generator[None, None, Self]:
        yield from ()
        return self

    @classmethod
    def get_block_type_slug(cls) -> str:
        """Return the slug of this type: the part of a reference before the slash."""
        # A subclass does not inherit the slug: it is another type.
        own: str | None = vars(cls).get("_block_type_slug")
        return own or WORD_BOUNDARY.sub("-", cls.__name__).strip("-").lower()

    @classmethod
    def load(cls, name: str) -> Self:
        """Return the block saved as `name`, or as `"type-slug/name"`.

        Raises:
            BlockNotFoundError: no block of that type is saved under that name.
            BlockTypeError: no imported class has that type, or it is another one than this class.
            BlockError: the name is malformed, or the content is invalid for the class.
            StoreError: the store cannot be read.
        """
        slug, name = cls._split(name)
        block_type = cls if slug == cls.get_block_type_slug() else _types.get(slug)
        if block_type is None:
            raise _unknown(slug, name)

        if not issubclass(block_type, cls):
            raise BlockTypeError(cls.get_block_type_slug(), slug)

        return block_type._restored(open_store().get(slug, name))  # noqa: SLF001 - its own subclass

    @classmethod
    async def aload(cls, name: str) -> Self:
        """Return the block saved as `name`, without holding up the event loop; see `load`."""
        return await to_thread.run_sync(cls.load, name)

    def save(self, name: str, overwrite: bool = False) -> BlockId:  # noqa: FBT001, FBT002 - as in Prefect
        """Save this block as `name`; return the id it has in the store.

        Raises:
            BlockExistsError: the name is taken, and `overwrite` is false.
            BlockError: the name is malformed, or a value cannot be stored.
            MissingExtraError: the block has a secret, and cryptography is not installed.
            HomeError: the home cannot be written to.
            StoreError: the store cannot be written.
        """
        _check_name(name)
        sealed = seal(self)
        block = BlockToSave(
            slug=self.get_block_type_slug(),
            name=name,
            origin=f"{type(self).__module__}:{type(self).__qualname__}",
            data=sealed.data,
            secrets=sealed.secrets,
        )
        return BlockId(int=open_store().put(block, overwrite=overwrite).id.int)

    async def asave(self, name: str, overwrite: bool = False) -> BlockId:  # noqa: FBT001, FBT002 - as in Prefect
        """Save this block as `name`, without holding up the event loop; see `save`."""
        return await to_thread.run_sync(partial(self.save, name, overwrite=overwrite))

    @classmethod
    def delete(cls, name: str) -> BlockId:
        """Delete the block saved as `name`, or as `"type-slug/name"`; return the id it had.

        Raises:
            BlockNotFoundError: no block of that type is saved under that name.
            BlockError: the name is malformed.
            StoreError: the store cannot be written.
        """
        store = open_store()
        stored = store.get(*cls._split(name))
        store.remove(stored.id)
        return BlockId(int=stored.id.int)

    @classmethod
    async def adelete(cls, name: str) -> BlockId:
        """Delete the block saved as `name`, without holding up the event loop; see `delete`."""
        return await to_thread.run_sync(cls.delete, name)

    @classmethod
    def _split(cls, reference: str) -> tuple[str, str]:
        slug, slash, name = reference.rpartition("/")
        if not slash:
            if cls is Block or inspect.isabstract(cls):
                raise BlockError(
                    f"{reference!r} does not say which type of block it is; "
                    f"write 'type-slug/{reference}', or load it through its class."
                )

            slug = cls.get_block_type_slug()

        _check_name(name)
        return slug, name

    @classmethod
    def _restored(cls, stored: StoredBlock) -> Self:
        what = f"the block '{stored.slug}/{stored.name}'"
        content = unseal(Sealed(data=stored.data, secrets=stored.secrets), what)
        try:
            return cls.model_validate_json(json.dumps(content))

        except ValidationError as error:
            raise BlockError(
                f"The saved content of {what} does not fit {cls.__qualname__}: {_problems(error)}. "
                "Save it again with overwrite=True, or delete it."
            ) from None


_types: dict[str, type[Block]] = {}


def _register(block_type: type[Block]) -> None:
    slug = block_type.get_block_type_slug()
    if NAME.fullmatch(slug) is None:
        raise BlockError(
            f"The class {block_type.__qualname__} gives the block type slug {slug!r}, but a slug "
            "is made of a-z, 0-9, dashes and underscores; set _block_type_slug in the class."
        )

    former = _types.get(slug)
    if former is not None and not _is_same(former, block_type):
        warnings.warn(
            f"{block_type.__module__}.{block_type.__qualname__} takes the block type slug "
            f"{slug!r} from {former.__module__}.{former.__qualname__}; "
            "set another _block_type_slug in one of them",
            UserWarning,
            stacklevel=4,
        )

    _types[slug] = block_type


def _is_same(former: type[Block], new: type[Block]) -> bool:
    """Return whether two classes are the same definition, reloaded or run as a script."""
    modules = {former.__module__, new.__module__}
    return former.__qualname__ == new.__qualname__ and (
        len(modules) == 1 or bool(modules & MAIN_MODULES)
    )


def _unknown(slug: str, name: str) -> BlockTypeError:
    origins = {block.name: block.origin for block in open_store().every(slug)}
    origin = origins.get(name) or next(iter(origins.values()), None)
    if origin is None:
        return BlockTypeError(slug, "a type that no imported class defines", _types)

    module, _, qualname = origin.partition(":")
    advice = f"a type not defined yet: import {qualname} from {module} before loading it"
    return BlockTypeError(slug, advice, _types)


def _check_name(name: str) -> None:
    if NAME.fullmatch(name) is None:
        raise BlockError(
            f"{name!r} cannot be the name of a block; use 1 to 200 of a-z, 0-9, dashes and "
            "underscores, beginning with a letter or a digit."
        )


def _problems(error: ValidationError) -> str:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'it'}: {problem['msg']}" for problem in details
    )
