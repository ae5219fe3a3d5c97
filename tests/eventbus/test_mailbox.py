"""Mailboxes: bounds, overflow, many threads and loops, and loops that end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from eventflow import Event
from eventflow.eventbus.mailbox import Mailbox, check_policy


class Fact(Event):
    number: int


FACTS = [Fact(number=number) for number in range(10)]


async def remaining(mailbox: Mailbox) -> list[int]:
    mailbox.end()
    numbers = []
    while (event := await mailbox.get()) is not None:
        assert isinstance(event, Fact)
        numbers.append(event.number)

    return numbers


def mailbox_of(size: int, overflow: Any = "block") -> Mailbox:
    return Mailbox("it", size, overflow, loop=asyncio.get_running_loop())


@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"),
    [("drop_oldest", [3, 4], 3), ("drop_newest", [0, 1], 3), ("block", [0, 1], 3)],
)
def test_each_policy_keeps_other_events(overflow: Any, kept: list[int], dropped: int) -> None:
    """What is dropped is counted; with "block" it is what comes from where nobody can wait."""

    async def main() -> None:
        mailbox = mailbox_of(2, overflow)
        for fact in FACTS[:5]:
            mailbox.put(fact)
        assert mailbox.dropped == dropped
        assert await remaining(mailbox) == kept

    asyncio.run(main())


def test_a_drop_in_place_of_a_wait_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """With whose queue it is, and what to do; the other policies say nothing."""

    async def main() -> None:
        for overflow in ("block", "drop_oldest", "drop_newest"):
            mailbox = mailbox_of(1, overflow)
            for fact in FACTS:
                mailbox.put(fact)
            assert mailbox.dropped == 9

    asyncio.run(main())
    (record,) = caplog.records
    assert (record.listener, record.size) == ("it", 1)  # type: ignore[attr-defined]
    assert "Raise the listener's size, or publish with `await bus.apublish" in record.message


@pytest.mark.parametrize(
    ("size", "overflow", "error", "message"),
    [
        (0, "block", ValueError, "size must be 1 or more, but is 0"),
        ("9", "block", TypeError, "size must be a whole number of events, but is '9'"),
        (1, "explode", ValueError, "overflow must be one of block, .* but is 'explode'"),
    ],
)
def test_a_wrong_policy_is_refused(size: Any, overflow: str, error: Any, message: str) -> None:
    """The message has the value and what is allowed."""
    with pytest.raises(error, match=message):
        check_policy(size, overflow)


def test_a_publisher_in_another_thread_blocks_until_there_is_room() -> None:
    """It continues when the reader has taken an event, and not before."""

    async def main() -> None:
        mailbox = mailbox_of(1)
        mailbox.put(FACTS[0])
        through = threading.Event()

        def publish() -> None:
            mailbox.put(FACTS[1])
            through.set()

        thread = threading.Thread(target=publish)
        thread.start()
        while len(mailbox) < 2:  # noqa: ASYNC110 - the thread must have put it, no more
            await asyncio.sleep(0)
        assert not through.is_set()
        assert await mailbox.get() == FACTS[0]
        assert await mailbox.get() == FACTS[1]
        await asyncio.to_thread(thread.join)
        assert through.is_set()

    asyncio.run(main())


def test_a_publisher_on_a_loop_awaits_room() -> None:
    """It is woken by the reader; where there is room, there is nothing to await."""

    async def main() -> None:
        mailbox = mailbox_of(1)
        assert mailbox.aput(FACTS[0]) is None
        room = mailbox.aput(FACTS[1])
        assert room is not None

        waiting = asyncio.create_task(_until(room))
        await asyncio.sleep(0)
        assert not waiting.done()
        mailbox.take()
        await waiting
        mailbox.take()
        assert mailbox.aput(FACTS[2]) is None
        assert await remaining(mailbox) == [2]

    asyncio.run(main())


def test_the_reader_itself_never_waits() -> None:
    """A reader may publish to its own mailbox; what is too much is dropped."""

    async def main() -> None:
        mailbox = mailbox_of(1)
        mailbox.put(FACTS[0])
        await mailbox.get()
        assert [mailbox.aput(fact) for fact in FACTS[1:4]] == [None, None, None]
        assert (await remaining(mailbox), mailbox.dropped) == ([1], 2)

    asyncio.run(main())


def test_closing_releases_reader_and_publishers() -> None:
    """They continue; later events are counted as dropped."""

    async def main() -> None:
        mailbox = mailbox_of(1)
        reader = asyncio.create_task(mailbox.get())
        await asyncio.sleep(0)
        mailbox.close()
        assert await reader is None
        mailbox.put(FACTS[0])
        assert mailbox.dropped == 1

        other = mailbox_of(1)
        other.put(FACTS[0])
        room = other.aput(FACTS[1])
        other.close()
        assert room is not None
        await room
        assert other.dropped == 2

    asyncio.run(main())


def test_every_reader_is_woken() -> None:
    """Each event goes to one of them, also if another was cancelled meanwhile."""

    async def main() -> None:
        mailbox = mailbox_of(10)
        readers = [asyncio.create_task(mailbox.get()) for _ in range(3)]
        await asyncio.sleep(0)
        readers[0].cancel()
        mailbox.put(FACTS[0])
        mailbox.put(FACTS[1])
        found = await asyncio.gather(*readers, return_exceptions=True)
        assert found[1:] == FACTS[:2]

    asyncio.run(main())


def test_what_is_read_on_another_loop_is_the_same() -> None:
    """The loop of the first reader is closed; nothing is lost, and the bound holds."""
    mailbox = Mailbox("it", 2, "block")
    asyncio.run(_began_to_read(mailbox))
    for fact in FACTS:
        mailbox.put(fact)
    assert mailbox.dropped == len(FACTS) - 2

    assert asyncio.run(remaining(mailbox)) == [0, 1]


async def _began_to_read(mailbox: Mailbox) -> None:
    reader = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)


def test_a_publisher_does_not_wait_for_a_loop_that_stands_still() -> None:
    """The mailbox is not read while its loop is not running."""
    loop = asyncio.new_event_loop()
    mailbox = Mailbox("it", 1, "block", loop=loop)
    mailbox.put(FACTS[0])
    mailbox.put(FACTS[1])

    async def publish() -> None:
        assert mailbox.aput(FACTS[2]) is None

    asyncio.run(publish())
    loop.close()
    assert (len(mailbox), mailbox.dropped) == (1, 2)


def test_a_waiting_publisher_may_lose_its_loop() -> None:
    """The notification that there is room must not fail for the reader."""

    async def main() -> None:
        mailbox = mailbox_of(1)
        mailbox.put(FACTS[0])

        async def ask(fact: Fact) -> Any:
            return mailbox.aput(fact)

        assert await asyncio.to_thread(asyncio.run, ask(FACTS[1])) is not None
        waiting = asyncio.ensure_future(_until(await ask(FACTS[2])))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await remaining(mailbox) == [0, 1, 2]

    asyncio.run(main())


async def _until(room: Any) -> None:
    await room
