"""What counts as a secret, and how it is masked in texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import pytest
from pydantic import BaseModel, Field, Secret, SecretBytes, SecretStr
from typing_extensions import TypedDict

from eventflow.settings import MASK
from eventflow.values.masking import (
    attributes_of,
    described,
    formatted,
    has_credentials,
    holds_secrets,
    is_secret_name,
    masked_text,
    secrets_in,
    without_secrets,
)


@pytest.mark.parametrize(
    "name",
    [
        *("password", "PASSWORD", "db_password", "password_of_db", "dbPassword", "dbpassword"),
        *("token", "access_token", "X-Auth-Token", "accesstoken", "secret", "clientSecret"),
        *("api_key", "apikey", "APIKey", "X-Api-Key", "Authorization", "aws_secret_access_key"),
        *("credentials", "passphrase", "private_key", "auth_tokens"),
    ],
)
def test_a_name_of_a_secret(name: str) -> None:
    """In any case and style, in front and behind."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["max_tokens", "tokenizer", "key", "keys", "author", "secretary", "passenger", "", "_"]
)
def test_a_name_of_no_secret(name: str) -> None:
    """What only begins like one."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://user:hunter2@host/db", "postgres://********@host/db"),
        ("postgres://user:hunt/er@2@host/db", "postgres://********@host/db"),
        ("see https://hunter2@host and that", "see https://********@host and that"),
        ("https://host:80/@user", "https://host:80/@user"),
        ("https://host/a@b", "https://host/a@b"),
        ("https://host/?a=1&api_key=hunter2&b=2", "https://host/?a=1&api_key=********&b=2"),
        ("host=h password='hunter 2' user=u", "host=h password=******** user=u"),
        ("Client(token='hunter2', n=1)", "Client(token=********, n=1)"),
        ("{'db_password': 'hunter2', 'n': 1}", "{'db_password': ********, 'n': 1}"),
        ("nobody@example.com = x", "nobody@example.com = x"),
    ],
)
def test_a_text_is_masked(text: str, masked: str) -> None:
    """Where it has credentials of a URL, or assigns to a name of a secret."""
    assert masked_text(text) == masked


def test_prose_is_no_credential() -> None:
    """A text is given back unless something would really be masked."""
    assert has_credentials("redis://:hunter2@host")
    assert has_credentials("host=h password=hunter2")
    assert not has_credentials("the token: take one")
    assert not has_credentials("mail to a@b.c, n=3")


def test_a_description_is_masked_and_short() -> None:
    """Also in the repr of a class of the user's, and where a URL is cut."""

    @dataclass
    class Client:
        password: str

    assert "hunter2" not in described([Client("hunter2")])
    assert "hunter2" not in described("x" * 180 + "://user:hunter2" + "2" * 50 + "@host")
    assert len(described(["x" * 10_000] * 100)) < 2_000


class Inner(BaseModel):
    """Has a secret."""

    code: SecretStr


@dataclass
class Outer:
    """Has a model with a secret."""

    inner: list[Inner | None]


class Keys(TypedDict):
    """Has a secret."""

    code: SecretBytes


class Recursive(BaseModel):
    """Has itself."""

    again: Recursive | None = None


class Plain(NamedTuple):
    """Has nothing."""

    name: str


@pytest.mark.parametrize(
    "annotation",
    [
        *(SecretStr, SecretBytes, Secret[int], SecretStr | None, dict[str, list[SecretStr]]),
        *(Annotated[SecretStr, Field(min_length=3)], Inner, Outer, Keys, tuple[Outer, ...]),
    ],
)
def test_an_annotation_asks_for_a_secret(annotation: Any) -> None:
    """Anywhere within it."""
    assert holds_secrets(annotation)


@pytest.mark.parametrize("annotation", [str, Recursive, Plain, dict[str, Any], Any, None, 5, "x"])
def test_an_annotation_asks_for_no_secret(annotation: Any) -> None:
    """Whatever it is."""
    assert not holds_secrets(annotation)


def test_secrets_of_values() -> None:
    """By their type, by their name, and in URLs; nested as well."""
    given = {
        "a": [Inner(code=SecretStr("one"))],
        "token": ("two", 3000, None, True),
        "url": "http://u:four@host",
        "other": "five",
    }
    assert secrets_in(given) == {"one", "two", "3000", "u:four"}
    assert without_secrets("one two five", secrets_in(given)) == "******** ******** five"


class Holder:
    """Holds secrets in all the ways there are."""

    __slots__ = ("__dict__", "code", "unset")
    access_token = "of-class"

    password: str

    def __init__(self) -> None:
        self.password = "in-dict"
        self.code = SecretStr("in-slot")
        self.url = "https://me:in-url@host/"

    @property
    def api_key(self) -> str:
        return "computed"

    def get_token(self) -> None: ...


def test_attributes_of_an_object() -> None:
    """Its own, those in slots that are set, and those of its classes; of a class, its own."""
    assert secrets_in(attributes_of(Holder())) == {"of-class", "in-dict", "in-slot", "me:in-url"}
    assert secrets_in(attributes_of(Holder)) == {"of-class"}
    assert secrets_in(attributes_of(type("Child", (Holder,), {"pwd": "own"}))) == {
        "of-class",
        "own",
    }
    assert not secrets_in(attributes_of(3))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{self.password}-{self.url.__class__.__name__}", f"{MASK}-str"),
        ("{self.api_key!r:>10}", f"{MASK!r}".rjust(10)),
        ("{options[token]}{options[n]}{options[token_expires]}", f"{MASK}1None"),
        ("{self.access_token.__class__}", MASK),
        ("v1.{day}", "v1.monday"),
        ("{{self.token}}", "{self.token}"),
    ],
)
def test_a_template_with_secrets(template: str, expected: str) -> None:
    """Attributes and items that are called like secrets are masked; the rest is as `str.format`."""
    options = {"token": "hunter2", "n": 1, "token_expires": None}
    values = {"self": Holder(), "options": options, "day": "monday"}
    assert formatted(template, values) == expected


@pytest.mark.parametrize("template", ["{absent}", "{self.token}", "{}", "{0.token}", "{self.token"])
def test_a_template_that_does_not_fit(template: str) -> None:
    """The error is of the kind that `str.format` raises."""
    with pytest.raises((KeyError, AttributeError, IndexError, ValueError)) as plain:
        template.format(self=1)
    with pytest.raises(plain.type):
        formatted(template, {"self": 1})
