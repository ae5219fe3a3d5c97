"""Where notifications go: apprise URLs, and the environment variables and blocks that hold them."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from pydantic import SecretStr

from eventflow.blocks import Block, NotificationBlock, Notify, Secret, SlackWebhook, String
from eventflow.blocks.notifications import Kind
from eventflow.blocks.secrets import decrypt, encrypt
from eventflow.errors import MissingExtraError, NotificationError

__all__ = ["Target", "read_target", "restored_target", "send"]

_VARIABLE: Final = re.compile(r"env:([A-Za-z_]\w*)", re.ASCII)
_URL: Final = re.compile(r"([A-Za-z][\w+.-]*)://\S+", re.ASCII)
_BLOCK: Final = re.compile(r"[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, `env:` and a variable, or a block as `type-slug/name`; `label` shows no secret."""

    text: SecretStr
    label: str
    is_url: bool = False

    def recorded(self) -> str | dict[str, str]:
        """Return it for the journal: a URL is encrypted.

        Raises:
            EventflowError: the key cannot be made or used.
        """
        text = self.text.get_secret_value()

        return {"encrypted": encrypt(text.encode()).decode("ascii")} if self.is_url else text


def read_target(given: object, place: int) -> Target:
    """Read what `notify` was given.

    Raises:
        TypeError: it is no text.
        ValueError: it is neither a URL, nor a variable, nor a block.
        MissingExtraError: apprise is needed, and is not installed.
    """
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    which = f"Argument {place} of notify(...)"
    if not isinstance(text, str):
        raise TypeError(f"{which} must be a string, but is of type {type(given).__name__}.")
    if _BLOCK.fullmatch(text):
        return Target(SecretStr(text), text)
    variable, url = _VARIABLE.fullmatch(text), _URL.fullmatch(text)
    if variable is None and url is None:
        # Not shown: it may be a URL that lacks a part, or has one with a space in it.
        raise ValueError(
            f"{which} must be a URL that apprise understands, such as 'slack://...', the variable "
            "that holds one, such as 'env:SLACK_URL', or a saved block, such as "
            "'slack-webhook/alerts'; it is none of these."
        )
    if find_spec("apprise") is None:
        raise MissingExtraError("notify", "apprise", "notifications")
    if url is not None:
        return Target(SecretStr(text), url[1].lower(), is_url=True)

    return Target(SecretStr(text), text.removeprefix("env:"))


def restored_target(recorded: Any, place: int) -> Target:
    """Return a target from its record.

    Raises:
        EventflowError: it cannot be decrypted with the key in force.
    """
    if isinstance(recorded, dict):
        recorded = decrypt(recorded["encrypted"].encode(), f"URL {place} of a notifier").decode()

    return read_target(recorded, place)


def send(target: Target, title: str, text: str, kind: Kind, timeout_seconds: float) -> None:
    """Send a text, which has no markup, to a target, and wait until it is accepted.

    Raises:
        EventflowError: it is not accepted, or there is no such variable or block.
    """
    for channel in _channels(target, kind, timeout_seconds):
        if isinstance(channel, SlackWebhook):
            # Else a name or an error could mention a whole channel.
            shown = html.escape(text, quote=False), html.escape(title, quote=False)
        else:
            shown = text, title
        channel.notify(*shown).wait()


def _channels(target: Target, kind: Kind, timeout_seconds: float) -> Iterator[NotificationBlock]:
    text = target.text.get_secret_value()
    variable = _VARIABLE.fullmatch(text)
    if variable is not None:
        urls = os.environ.get(variable[1], "").split()
        if not urls:
            reason = f"the environment variable {variable[1]} is not set"
            raise NotificationError("notify", reason)
    elif target.is_url:
        urls = [text]
    else:
        block = Block.load(text)
        if isinstance(block, Notify):
            yield block.model_copy(update={"kind": kind, "format": block.format or "text"})
            return
        if isinstance(block, NotificationBlock):
            yield block
            return
        urls = _urls_in(block, text)
    yield Notify(urls, kind=kind, format="text", timeout_seconds=timeout_seconds)


def _urls_in(block: Block, name: str) -> list[str]:
    if isinstance(block, Secret):
        return block.get().split()
    if isinstance(block, String):
        return block.value.split()
    raise NotificationError(
        "notify", f"the block {name} neither notifies nor is a Secret or a String that holds URLs"
    )
