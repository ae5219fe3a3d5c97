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


async def left(mailbox: Mailbox) -> list[int]:
    mailbox.end()
    numbers = []
    while (event := await mailbox.get()) is not None:
        assert isinstance(event, Fact)
        numbers.append(event.number)

    return numbers


@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"),
    [("drop_oldest", [3, 4], 3), ("drop_newest", [0, 1], 3), ("block", [0, 1, 2, 3, 4], 0)],
)
def test_each_policy_keeps_its_own(overflow: Any, kept: list[int], dropped: int) -> None:
    """What is dropped is counted; "block" drops nothing, and asks publishers to wait."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 2, overflow)
        asked = [mailbox.put(fact) for fact in FACTS[:5]]
        assert asked == [False, False, *([overflow == "block"] * 3)]
        assert mailbox.dropped == dropped
        assert await left(mailbox) == kept

    asyncio.run(main())


@pytest.mark.parametrize(
    ("size", "overflow", "error", "said"),
    [
        (0, "block", ValueError, "size must be 1 or more, but is 0"),
        ("9", "block", TypeError, "size must be a whole number of events, but is '9'"),
        (1, "explode", ValueError, "overflow must be one of block, .* but is 'explode'"),
    ],
)
def test_a_wrong_policy_says_so(size: Any, overflow: str, error: Any, said: str) -> None:
    """The message has the value and what is allowed."""
    with pytest.raises(error, match=said):
        check_policy(size, overflow)


def test_a_publisher_in_another_thread_blocks_until_there_is_room() -> None:
    """It goes on when the reader has taken one, and not before."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        waits, through = threading.Event(), threading.Event()

        def publish() -> None:
            assert mailbox.put(FACTS[1])
            waits.set()
            mailbox.wait_for_room()
            through.set()

        thread = threading.Thread(target=publish)
        thread.start()
        await asyncio.to_thread(waits.wait)
        assert await mailbox.get() == FACTS[0]
        assert await mailbox.get() == FACTS[1]
        await asyncio.to_thread(thread.join)
        assert through.is_set()

    asyncio.run(main())


def test_a_publisher_on_a_loop_awaits_room() -> None:
    """It is woken by the reader; where there is room meanwhile, there is nothing to await."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        assert mailbox.put(FACTS[1])
        room = mailbox.room()
        assert room is not None

        async def wait() -> None:
            await room

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        mailbox.take()
        await waiting
        assert mailbox.room() is None

    asyncio.run(main())


def test_sync_code_on_a_running_loop_is_never_held_up() -> None:
    """Blocking there would stop whatever else the loop does, the reader perhaps."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        assert mailbox.put(FACTS[1])
        mailbox.wait_for_room()

    asyncio.run(main())


def test_the_reader_itself_is_never_held_up() -> None:
    """Who reads may publish to itself, as often as it likes."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        await mailbox.get()
        mailbox.put(FACTS[1])
        assert mailbox.put(FACTS[2])
        assert mailbox.room() is None

    asyncio.run(main())


def test_closing_lets_everyone_go() -> None:
    """Waiting publishers and the reader go on; what comes later is counted as dropped."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        reader = asyncio.create_task(mailbox.get())
        await asyncio.sleep(0)
        mailbox.close()
        assert await reader is None
        assert not mailbox.put(FACTS[0])
        assert mailbox.dropped == 1

        other = Mailbox(asyncio.get_running_loop(), 1, "block")
        other.put(FACTS[0])
        other.put(FACTS[1])
        room = other.room()
        other.close()
        assert room is not None
        await room
        assert other.dropped == 2

    asyncio.run(main())


def test_a_mailbox_whose_loop_is_closed_takes_nothing_in() -> None:
    """Nobody will ever read: nobody waits, nothing piles up, and all of it is counted."""
    loop = asyncio.new_event_loop()

    async def make() -> Mailbox:
        return Mailbox(loop, 2, "block")

    mailbox = loop.run_until_complete(make())
    loop.run_until_complete(asyncio.wait_for(_began_to_read(mailbox), 5))
    loop.close()
    for fact in FACTS:
        mailbox.put(fact)
        mailbox.wait_for_room()

    assert len(mailbox) == 0
    assert mailbox.dropped == len(FACTS)


async def _began_to_read(mailbox: Mailbox) -> None:
    reader = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)


def test_a_publisher_does_not_wait_for_a_loop_that_stands_still() -> None:
    """A loop that is not running reads nothing, however long one waits."""
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop, 1, "block")
    mailbox.put(FACTS[0])
    assert mailbox.put(FACTS[1])
    mailbox.wait_for_room()

    async def elsewhere() -> None:
        room = mailbox.room()
        assert room is not None
        await room

    asyncio.run(elsewhere())
    assert len(mailbox) == 2
    loop.close()
    mailbox.put(FACTS[2])
    assert (len(mailbox), mailbox.dropped) == (0, 3)


def test_a_publisher_whose_loop_is_gone_is_forgotten() -> None:
    """Telling it that there is room must not fail for the reader."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        mailbox.put(FACTS[1])

        async def ask() -> None:
            assert mailbox.room() is not None

        await asyncio.to_thread(asyncio.run, ask())
        room = mailbox.room()
        assert room is not None
        waiting = asyncio.ensure_future(_until(room))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await left(mailbox) == [0, 1]

    asyncio.run(main())


async def _until(room: Any) -> None:
    await room
