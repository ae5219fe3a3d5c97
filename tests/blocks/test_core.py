"""Blocks are saved, loaded and deleted by name, in sync and async code."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

from eventflow import blocks
from eventflow.blocks import JSON, Block, BlockId, NotificationBlock, Secret, String
from eventflow.errors import (
    BlockError,
    BlockExistsError,
    BlockNotFoundError,
    BlockTypeError,
    StoreError,
)

if TYPE_CHECKING:
    from typing import assert_type

ROOT = Path(blocks.__file__).parents[2]
T = TypeVar("T")


class Database(Block):
    """A user's own block, with fields of many types."""

    host: str
    port: int = 5432
    password: SecretStr
    opened: datetime | None = None
    folders: tuple[Path, ...] = ()
    limit: float = Field(default=1.0, strict=True)


def test_a_block_comes_back_by_its_type_and_name() -> None:
    """Through `Block` with the slug, or through the class with or without it."""
    String(value="x").save("my-name")
    assert Block.load("string/my-name") == String("x")
    assert String.load("my-name").value == "x"
    assert String.load(name="string/my-name").value == "x"


def test_a_users_own_block_comes_back_with_its_types() -> None:
    """A subclass with typed fields registers itself."""
    database = Database(
        host="db",
        password=SecretStr("hush"),
        opened=datetime(2026, 1, 2, tzinfo=UTC),
        folders=(Path("/a"), Path("/b")),
        limit=float("inf"),
    )
    database.save("main")
    loaded = Block.load("database/main")
    assert loaded == database
    assert isinstance(loaded, Database)
    assert loaded.password.get_secret_value() == "hush"


def test_async_code_may_await_load_save_and_delete() -> None:
    """The same methods work in both."""

    async def main() -> None:
        saved = await String("x").save("a")
        assert await String("y").save("a", overwrite=True) == saved
        assert (await String.load("a")).value == "y"
        assert String.load("a").value == "y"
        assert await Block.delete("string/a") == saved

    asyncio.run(main())


def test_async_code_may_say_so_outright() -> None:
    """aload, asave and adelete work in a thread."""

    async def main() -> None:
        saved = await String("x").asave("a")
        assert await String("y").asave("a", overwrite=True) == saved
        assert (await String.aload("a")).value == "y"
        assert (await Block.aload("string/a")) == String("y")
        assert await String.adelete("a") == saved

    asyncio.run(main())


def test_types_are_seen_through_load_and_save() -> None:
    """mypy and pyright know what is loaded, awaited or not."""

    async def main() -> None:
        String("x").save("a")
        loaded, awaited = String.load("a"), await String.load("a")
        saved = await loaded.save("b")
        if TYPE_CHECKING:
            assert_type(loaded, String)
            assert_type(awaited, String)
            assert_type(loaded.value, str)
            assert_type((await String.aload("a")).value, str)
            assert_type(saved, BlockId)
            assert_type(await loaded.asave("c"), BlockId)
            assert_type(await Block.load("string/a"), Block)

        assert loaded == awaited

    asyncio.run(main())


def test_save_gives_the_id_as_a_uuid() -> None:
    """Overwriting keeps it."""
    saved = String("x").save("a")
    assert isinstance(saved, UUID)
    assert String("y").save("a", overwrite=True) == saved
    assert String("y").save("b") != saved


def test_saving_over_a_block_must_be_asked_for() -> None:
    """A name that is taken is an error."""
    String("x").save("a")
    with pytest.raises(BlockExistsError, match="'a' of type 'string' exists already"):
        String("y").save("a")

    assert String.load("a").value == "x"


def test_a_changed_block_is_checked_and_saved_again() -> None:
    """A field can be assigned; an invalid value is refused."""
    JSON({"a": 1}).save("j")
    loaded = JSON.load("j")
    loaded.value = [1, None, "x", 0.5, {"b": True}]
    loaded.save("j", overwrite=True)
    assert JSON.load("j").value == [1, None, "x", 0.5, {"b": True}]
    with pytest.raises(ValidationError):
        loaded.value = object()  # type: ignore[assignment]


def test_delete_takes_a_block_away() -> None:
    """Through the class, or through `Block` with the slug."""
    String("x").save("a")
    String("x").save("b")
    String.delete("a")
    Block.delete("string/b")
    for delete in (String.delete, String.load):
        with pytest.raises(BlockNotFoundError, match="Saved blocks of that type: none"):
            delete("a")


def test_an_unknown_name_is_an_error_that_names_the_nearest() -> None:
    """The message lists the known names."""
    String("x").save("alpha")
    String("x").save("beta")
    with pytest.raises(BlockNotFoundError, match=r"mean 'alpha'\?.*: 'alpha', 'beta'\."):
        Block.load("string/alhpa")


def test_the_wrong_type_is_an_error() -> None:
    """A String is not loaded as a Secret, nor as a notification block."""
    String("x").save("a")
    with pytest.raises(BlockTypeError, match="Wanted a block of type 'secret', but got 'string'"):
        Secret.load("string/a")

    with pytest.raises(BlockTypeError, match="'notification-block', but got 'string'"):
        NotificationBlock.load("string/a")


def test_an_unknown_type_is_an_error_that_lists_the_known() -> None:
    """The built-in types among them, whichever module was imported."""
    with pytest.raises(BlockTypeError) as caught:
        Block.load("sting/a")

    for slug in ("'sting'", "json", "notify", "secret", "slack-webhook", "string", "database"):
        assert slug in str(caught.value)


def test_a_type_defined_elsewhere_is_an_error_that_says_what_to_import() -> None:
    """The module that defines a user's class may not have been imported yet."""
    Database(host="db", password=SecretStr("hush")).save("main")
    code = "from eventflow.blocks.core import Block; Block.load('database/%s')"
    for name in ("main", "other"):
        done = subprocess.run(
            [sys.executable, "-c", code % name],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"import Database from {__name__} before loading it" in done.stderr


def test_the_type_must_be_known_to_load() -> None:
    """`Block.load` needs the slug, and so does an abstract base."""
    for base in (Block, NotificationBlock):
        with pytest.raises(BlockError, match="write 'type-slug/a'"):
            base.load("a")


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a/b/", "é", "a" * 201, "a.b", "a\n"])
def test_a_malformed_name_is_an_error_that_says_the_rule(name: str) -> None:
    """Saving and loading alike."""
    for use in (String("x").save, String.load, String.delete):
        with pytest.raises(BlockError, match="cannot be the name of a block; use 1 to 200 of"):
            use(name)


@pytest.mark.parametrize("name", ["a", "0", "my-name_2", "a" * 200])
def test_a_well_formed_name_is_taken(name: str) -> None:
    """Letters, digits, dashes and underscores."""
    String("x").save(name)
    assert Block.load(f"string/{name}") == String("x")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("SlackLikeService", "slack-like-service"),
        ("AWSKeyPair", "aws-key-pair"),
        ("S3Bucket", "s3-bucket"),
        ("snake_case", "snake-case"),
        ("_Private", "private"),
    ],
)
def test_the_slug_comes_from_the_class_name(name: str, slug: str) -> None:
    """In lower case, with dashes."""
    assert define(name, __name__, name).get_block_type_slug() == slug


def test_a_class_may_set_its_slug_and_its_subclass_has_its_own() -> None:
    """Two types never share one by inheritance."""

    class Chosen(Block):
        _block_type_slug = "my_choice"

    class Heir(Chosen):
        pass

    Chosen().save("a")
    assert isinstance(Block.load("my_choice/a"), Chosen)
    assert Heir.get_block_type_slug() == "heir"


def test_a_subclass_may_be_loaded_through_its_base() -> None:
    """`load` of the base class gives the subclass."""

    class Loud(String):
        volume: int = 11

    Loud(value="x").save("a")
    assert String.load("loud/a") == Loud(value="x")


def test_a_slug_that_cannot_be_written_is_an_error_at_the_class() -> None:
    """The message says what to set."""
    with pytest.raises(BlockError, match="set _block_type_slug"):
        type("Ünï", (Block,), {"__module__": __name__})


def test_a_generic_block_registers_each_of_its_kinds() -> None:
    """The parameter is a part of the slug."""

    class Box(Block, Generic[T]):
        item: T

    Box[int](item=1).save("a")
    assert Block.load("box-int/a") == Box[int](item=1)


def define(name: str, module: str, qualname: str) -> type[Block]:
    """Define a class as if in another module."""
    return type(name, (Block,), {"__module__": module, "__qualname__": qualname})


def test_a_definition_loaded_again_takes_its_own_place() -> None:
    """A reload, or a script that is also imported, is no clash."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for module in ("job", "job", "__main__", "job", "__mp_main__"):
            define("Reloaded", module, "Reloaded")


def test_another_class_of_the_same_slug_is_a_warning() -> None:
    """Since it would load what the first has saved."""
    define("Twice", "one", "Twice")
    with pytest.warns(
        UserWarning, match=r"two\.Twice takes the block type slug 'twice' from one\."
    ):
        define("Twice", "two", "Twice")

    with pytest.warns(UserWarning, match="set another _block_type_slug"):
        define("Twice", "two", "Inner.Twice")


def test_content_that_no_longer_fits_is_an_error_that_says_where() -> None:
    """Of a class that changed since; the message quotes no value."""

    class Old(Block):
        _block_type_slug = "changing"
        host: SecretStr

    Old(host=SecretStr("hush")).save("a")
    with pytest.warns(UserWarning, match="changing"):

        class New(Block):
            _block_type_slug = "changing"
            host: int

    with pytest.raises(BlockError, match=r"'changing/a' does not fit .*New: host: Input") as caught:
        New.load("a")

    assert "hush" not in str(caught.value)
    assert "overwrite=True" in str(caught.value)


def test_a_validation_error_does_not_quote_its_input() -> None:
    """It may be a secret, also in a sub-model."""

    class Inner(BaseModel):
        secret: SecretStr

    class Outer(Block):
        inner: Inner

    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": {"secret": ["hush"]}})

    assert "hush" not in str(caught.value)
    fields: dict[str, Any] = {"value": 1, "valve": "hush"}
    with pytest.raises(ValidationError, match="valve") as caught:
        String(**fields)

    assert "hush" not in str(caught.value)


def test_a_corrupt_store_is_an_error_that_says_what_to_do(folder: Path) -> None:
    """From the block and from the store."""
    String("x").save("a")
    (folder / "blocks.db").write_bytes(b"garbage " * 2000)
    with pytest.raises(StoreError, match="looks damaged"):
        String.load("a")


def test_importing_the_blocks_imports_nothing_optional() -> None:
    """httpx, cryptography and apprise are imported when they are first used."""
    code = (
        "import sys, eventflow.blocks; "
        "assert not {'httpx', 'cryptography', 'apprise'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_everything_is_importable_from_the_package() -> None:
    """And its names are sorted."""
    assert all(hasattr(blocks, name) for name in blocks.__all__)
    assert set(blocks.__all__) >= {
        "JSON", "Block", "NotificationBlock", "Notify", "Secret", "SlackWebhook", "String",
    }  # fmt: skip
