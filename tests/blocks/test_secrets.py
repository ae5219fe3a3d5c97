"""Secrets are encrypted at rest wherever they are in a block, and restored with their key."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from pydantic import BaseModel, Field, SecretBytes, SecretStr, computed_field, field_serializer
from pydantic import Secret as SecretOf

from eventflow.blocks import Block, Secret, String
from eventflow.blocks.secrets import decrypt, encrypt
from eventflow.blockstore import open_store
from eventflow.errors import BlockError, HomeError, MissingExtraError
from eventflow.settings import EVENTFLOW_SECRET_KEY, temporary_settings


class Login(BaseModel):
    """A model inside a block."""

    user: str
    password: SecretStr


class Vault(Block):
    """A block with secrets in every place that can hold one."""

    plain: str = "seen"
    login: Login
    many: list[SecretStr]
    named: dict[int, SecretBytes]
    pair: tuple[SecretStr, date]
    several: set[SecretStr]
    day: SecretOf[date]
    aliased: SecretStr = Field(alias="as")
    ident: UUID = UUID(int=7)

    @computed_field
    def shout(self) -> str:
        """Return a value that is no field."""
        return self.plain.upper()


def vault() -> Vault:
    """Make a block full of secrets."""
    content: dict[str, Any] = {
        "login": {"user": "me", "password": "hush-1"},
        "many": ["hush-2", "hush-3"],
        "named": {1: b"hush-4"},
        "pair": ("hush-5", "2026-01-02"),
        "several": {"hush-6"},
        "day": "1999-12-31",
        "as": "hush-7",
    }
    return Vault.model_validate(content)


def files(folder: Path) -> bytes:
    """Return the bytes of all files in the home."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


def test_a_secret_comes_back_from_wherever_it_stands(folder: Path) -> None:
    """Sub-models, lists, dicts, tuples, sets, aliases; and none is readable on the disk."""
    vault().save("v")
    assert Vault.load("v") == vault()
    assert b"hush-" not in files(folder)
    assert b"1999" not in files(folder)
    assert b"seen" in files(folder)


def test_a_secret_is_masked_wherever_a_block_is_shown() -> None:
    """repr, str, and both dumps."""
    vault().save("v")
    loaded = Vault.load("v")
    for shown in (repr(loaded), str(loaded), str(loaded.model_dump()), loaded.model_dump_json()):
        assert "hush-" not in shown


def test_the_key_file_is_made_once_for_its_owner_only(folder: Path) -> None:
    """With the first secret and not before; no temporary file remains."""
    String("x").save("plain")
    assert not (folder / "secret.key").exists()
    Secret("a").save("a")
    key = (folder / "secret.key").read_bytes()
    Secret("b").save("b")
    assert (folder / "secret.key").read_bytes() == key
    assert stat.S_IMODE((folder / "secret.key").stat().st_mode) == 0o600
    assert sorted(file.name for file in folder.iterdir()) == ["blocks.db", "secret.key"]


def test_processes_that_make_the_key_at_once_agree_on_it(
    together: Callable[[str, int], list[str]],
) -> None:
    """The key of the first process."""
    together("Secret(value=f's{number}').save(f'n{number}')", 5)
    assert [Secret.load(f"n{number}").get() for number in range(5)] == [f"s{n}" for n in range(5)]


def test_a_key_made_meanwhile_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if another process makes its key just before ours is linked."""
    folder.mkdir()
    theirs, generate = Fernet.generate_key(), Fernet.generate_key

    def late() -> bytes:
        (folder / "secret.key").write_bytes(theirs)
        return generate()

    monkeypatch.setattr(Fernet, "generate_key", late)
    Secret("x").save("x")
    assert (folder / "secret.key").read_bytes() == theirs
    assert Secret.load("x").get() == "x"


def test_the_key_may_come_from_the_setting(folder: Path) -> None:
    """And no key file is made; with another key the block cannot be loaded."""
    with temporary_settings({EVENTFLOW_SECRET_KEY: Fernet.generate_key().decode()}):
        Secret("hush").save("x")
        assert Secret.load("x").get() == "hush"
        assert not (folder / "secret.key").exists()

    other = Fernet.generate_key().decode()
    with (
        temporary_settings({EVENTFLOW_SECRET_KEY: other}),
        pytest.raises(BlockError, match="'secret/x' cannot be decrypted") as caught,
    ):
        Secret.load("x")

    assert "EVENTFLOW_SECRET_KEY" in str(caught.value)
    assert other not in str(caught.value)


def test_a_missing_key_file_is_an_error_and_is_not_made_anew(folder: Path) -> None:
    """A new key could not decrypt it."""
    Secret("x").save("x")
    (folder / "secret.key").unlink()
    with pytest.raises(BlockError, match=r"secret\.key' is missing.*Restore the key"):
        Secret.load("x")

    assert not (folder / "secret.key").exists()


def test_other_bytes_are_encrypted_with_the_same_key() -> None:
    """An error names what cannot be decrypted."""
    cipher = encrypt(b"hush")
    assert b"hush" not in cipher
    assert decrypt(cipher, "it") == b"hush"
    with (
        temporary_settings({EVENTFLOW_SECRET_KEY: Fernet.generate_key().decode()}),
        pytest.raises(BlockError, match="The secrets of the parcel cannot be decrypted"),
    ):
        decrypt(cipher, "the parcel")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe"])
def test_a_damaged_key_file_is_an_error(folder: Path, content: bytes) -> None:
    """It is neither replaced nor quoted."""
    folder.mkdir()
    (folder / "secret.key").write_bytes(content)
    with pytest.raises(BlockError, match="is not a Fernet key") as caught:
        Secret("x").save("x")

    assert "nonsense" not in str(caught.value)
    assert (folder / "secret.key").read_bytes() == content


def test_a_key_file_that_cannot_be_read_is_an_error(folder: Path) -> None:
    """A folder of that name."""
    (folder / "secret.key").mkdir(parents=True)
    with pytest.raises(HomeError, match=r"secret\.key cannot be read"):
        Secret("x").save("x")


def test_a_key_file_that_cannot_be_made_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without links; no temporary file remains."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(HomeError, match=r"secret\.key cannot be made: Operation not permitted"):
        Secret("x").save("x")

    assert list(folder.iterdir()) == []


def test_only_secrets_need_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    """A String works without it; a Secret says what to install, saved and loaded."""
    Secret("x").save("x")
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    String("x").save("x")
    assert String.load("x").value == "x"
    with pytest.raises(MissingExtraError, match=r"eventflow-runtime\[blocks\]"):
        Secret("y").save("y")

    with pytest.raises(MissingExtraError, match=r"eventflow-runtime\[blocks\]"):
        Secret.load("x")


def test_a_secret_that_a_serializer_would_hide_is_refused() -> None:
    """Otherwise the mask would be saved in its place."""

    class Hidden(Block):
        secrets: list[SecretStr]
        plain: list[str] = Field(default_factory=list)

        @field_serializer("secrets", "plain", when_used="json")
        def joined(self, value: list[object]) -> str:
            return ",".join(map(str, value))

    with pytest.raises(BlockError, match="field 'secrets' would be lost"):
        Hidden(secrets=[SecretStr("x")]).save("h")

    Hidden(secrets=[], plain=["a"]).save("h")


def test_a_secret_that_a_serializer_reveals_is_masked_in_the_store(folder: Path) -> None:
    """The serializer of pydantic's documentation shows secrets in JSON, but not on disk."""

    class Open(Block):
        word: SecretStr

        @field_serializer("word", when_used="json")
        def reveal(self, value: SecretStr) -> str:
            return value.get_secret_value()

    Open(word=SecretStr("hush-8")).save("o")
    assert b"hush-8" not in files(folder)
    assert Open.load("o").word.get_secret_value() == "hush-8"


def test_what_json_cannot_say_is_refused_by_name() -> None:
    """Bytes that are no text, secret or not."""

    class Raw(Block):
        open: bytes = b""
        hidden: SecretBytes = SecretBytes(b"")

    with pytest.raises(BlockError, match="A Raw block cannot be saved as JSON"):
        Raw(open=b"\xff").save("r")

    with pytest.raises(BlockError, match="A Raw block cannot be saved as JSON"):
        Raw(hidden=SecretBytes(b"\xff")).save("r")


def test_what_the_store_shows_is_json_with_masks(folder: Path) -> None:
    """The client shows a block without any key."""
    vault().save("v")
    (folder / "secret.key").unlink()

    data = open_store().get("vault", "v").data
    assert data["login"] == {"user": "me", "password": "********"}
    assert data["many"] == ["********"] * 2
    assert "hush" not in json.dumps(dict(data))
