"""The blocks that send a notification to its targets."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator

from eventflow.blocks import Block, NotificationBlock, Notify, Secret, SlackWebhook, String
from eventflow.blocks.notifications import Kind
from eventflow.errors import NotificationError
from eventflow.notifications.targets import VARIABLE, Target

__all__ = ["send"]


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
    variable = VARIABLE.fullmatch(text)
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
