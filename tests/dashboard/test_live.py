"""A page is told of what changes in it: whole, once, and only if it has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from eventflow.client.archive import Archive
from eventflow.dashboard import live
from eventflow.dashboard.live import Feed, Part, Turns, mark_of
from eventflow.dashboard.reading import Source
from eventflow.dashboard.rendering import render
from eventflow.dashboard.views.filters import Address
from eventflow.dashboard.views.page import Page
from eventflow.dashboard.views.run import run_page
from eventflow.dashboard.views.tallies import Tallies
from eventflow.journal.contract import RunQuery
from tests.cli.sample_journal import COMPLETED, RUNNING, Sample, record_run


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for changes only, and not for time."""
    monkeypatch.setattr(live, "UPDATE_SECONDS", 0.001)
    monkeypatch.setattr(live, "QUIET_SECONDS", 3600.0)
    monkeypatch.setattr(live, "POLL_SECONDS", 0.001)


def listed(archive: Archive | None) -> Page:
    """Show the last transition of all runs."""
    kinds = {} if archive is None else archive.journal.tally(RunQuery())
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))

    return Page(template="", part="said.html", title="", values={"said": counts})


def reading(work: Callable[[Feed], Coroutine[Any, Any, None]]) -> None:
    """Do something while the feed is read."""

    async def all_of_it() -> None:
        source = Source()
        feed = Feed(source, Tallies())
        task = asyncio.create_task(feed.run())
        try:
            async with asyncio.timeout(30):
                await until(lambda: feed.number > 0)
                await work(feed)
        finally:
            task.cancel()
            feed.end()
            await asyncio.wait([task])
            source.close()

    asyncio.run(all_of_it())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what it waits for is no event of this loop
        await asyncio.sleep(0.001)


async def told(stream: AsyncIterator[bytes]) -> tuple[str, str]:
    """Return the id and the data of the next event that is no comment."""
    async for event in stream:
        if not event.startswith(b":"):
            head, *lines = event.decode().strip().splitlines()
            return head.removeprefix("id: "), "\n".join(line[len("data: ") :] for line in lines)
    raise AssertionError


def test_a_change_is_told(sample: Sample) -> None:
    async def work(feed: Feed) -> None:
        stream = feed.stream("list", listed, "me", "")
        _, before = await told(stream)
        assert "RUNNING 1" in before
        record_run(sample.journal, RUNNING, name="another")
        _, after = await told(stream)
        assert "RUNNING 2" in after or "PENDING" in after

    reading(work)


def test_a_stream_goes_on_where_it_was(sample: Sample) -> None:
    """Nothing is told twice, and nothing that happened meanwhile is left out."""

    async def work(feed: Feed) -> None:
        mark, text = await told(feed.stream("list", listed, "me", ""))
        assert mark == mark_of(text)
        same = feed.stream("list", listed, "me", mark)
        assert (await anext(same)).startswith(b":")
        record_run(sample.journal, COMPLETED, name="another")
        again, _ = await told(feed.stream("list", listed, "me", mark))
        assert again != mark

    reading(work)


def test_pages_of_the_same_are_read_once(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counted(archive: Archive | None) -> Page:
        nonlocal calls
        calls += 1
        return listed(archive)

    async def work(feed: Feed) -> None:
        streams = [feed.stream("list", counted, f"browser {place}", "") for place in range(50)]
        await asyncio.gather(*(told(stream) for stream in streams))
        assert calls < 10

    monkeypatch.setattr(live, "UPDATE_SECONDS", 5.0)
    reading(work)


def test_who_opened_it_at_another_time_gets_what_others_were_sent(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens a page sees it as it is now; those who have it wait for each other."""

    async def work(feed: Feed) -> None:
        first = await feed._part("list", listed, None)
        feed.number += 1
        opened = await feed._part("list", listed, None)
        assert opened is not first
        feed.number += 1
        assert await feed._part("list", listed, first) is opened
        assert await feed._part("list", listed, opened) is not opened

    monkeypatch.setattr(live, "UPDATE_SECONDS", 5.0)
    reading(work)


def test_the_more_pages_are_open_the_less_often_each_is_read(sample: Sample) -> None:
    """All together take a share of a processor; a page that takes long leaves time to others."""

    async def work(feed: Feed) -> None:
        def pause(seconds: float) -> float:
            page = Page(template="", part="", title="", values={})
            return feed._pause(Part("", page, 0, time.monotonic(), seconds))

        assert pause(0.1) == pytest.approx(0.3, abs=0.1)
        feed._open.update(map(str, range(5)))
        assert pause(0.1) == pytest.approx(2.5, abs=0.1)
        assert pause(60.0) == pytest.approx(live.LONGEST_SECONDS, abs=0.1)

    reading(work)


def test_a_run_is_told_of_what_it_called_only(sample: Sample) -> None:
    """A page of a run is not read for the runs of others."""

    async def work(feed: Feed) -> None:
        address = Address(f"/flow-runs/flow-run/{sample.running}")
        view = partial(run_page, address=address, run_type="flow", run_id=sample.running)
        page = await Source().read(view)
        first = feed.number
        record_run(sample.journal, COMPLETED, name="of-another")
        await until(lambda: feed.number > first)
        assert feed._number_of(page) == first
        second = feed.number
        record_run(sample.journal, COMPLETED, name="of-its-own", parent=sample.running)
        await until(lambda: feed._number_of(page) > second)

    reading(work)


def test_a_browser_has_few_streams_at_a_time() -> None:
    """One more ends the oldest; each that ends makes room."""
    turns = Turns()
    first, *others = [turns.begin("me") for _ in range(live.STREAMS)]
    assert not first.is_set()
    last = turns.begin("me")
    assert first.is_set()
    assert not any(each.is_set() for each in (*others, last, turns.begin("another")))
    turns.end("me", first)
    turns.end("me", others[0])
    assert not turns.begin("me").is_set()
    assert not others[1].is_set()


def test_at_the_end_of_the_server_all_streams_end(sample: Sample) -> None:
    async def work(feed: Feed) -> None:
        stream = feed.stream("list", listed, "me", "")
        await told(stream)
        feed.end()
        assert [event async for event in stream] == []
        assert len([event async for event in feed.stream("list", listed, "me", "")]) == 0

    reading(work)


def test_every_line_of_a_part_is_data(sample: Sample) -> None:
    """A carriage return, or an empty line, would end the event."""
    text = render("said.html", said="a\n\nb\r\rc\x0bd\u2028e")
    event = live._event("1", text).decode()
    assert event.count("\n\n") == 1
    assert "\r" not in event
