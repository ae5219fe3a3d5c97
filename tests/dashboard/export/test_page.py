"""The page of a run has all that is known of it, in one file that asks for nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from uuid import UUID

from eventflow.client.archive import Archive
from eventflow.dashboard.export.page import TOLD, run_page
from eventflow.dashboard.export.story import story_of
from eventflow.hooks.ledger import DeliveryStatus
from tests.cli.sample_journal import (
    COMPLETED,
    CRASHED,
    ERROR,
    OWNER,
    RETRIED,
    Owed,
    Sample,
    record_run,
)
from tests.dashboard.stored import HOSTILE
from tests.journal.logged import line
from tests.journal.rows import AT, ARun, commit

ADDRESS = "http://127.0.0.1:4200/flow-runs/flow-run/x"


class Parsed(HTMLParser):
    """What a browser would see: elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "style":
            self.style += data
        else:
            self.text += data


def a_page(archive: Archive, run_id: UUID) -> Parsed:
    run = archive.run(run_id)
    assert run is not None

    return Parsed(run_page(story_of(archive, run, datetime.now(UTC)), ADDRESS))


def test_the_page_tells_what_failed_with_which_error_and_who_was_told(
    archive: Archive, sample: Sample
) -> None:
    text = a_page(archive, sample.failed).text

    for told in (
        *("etl/brave-otter", "✕ Failed", "ValueError: no such table", "Traceback\nValueError: no"),
        *(str(sample.failed), "etl:etl", "eu, prod", "process 4711 on host-1", "etl.py --day 1"),
        *("◷ AwaitingRetry", "Retrying", '"day": "2026-01-31"', ADDRESS),
        *("✕ dead", "alerts:page", "✓ delivered", "alerts:begun"),
        *("extract/sly-fox", "extract/calm-bee"),
    ):
        assert told in text
    assert text.index("no such table") < text.index("Timeline") < text.index("Events")


def test_the_page_asks_for_nothing(archive: Archive, sample: Sample) -> None:
    """No script, no request to anybody; a link is only followed by a click."""
    page = a_page(archive, sample.failed)

    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert {name for _, given in page.elements for name in given}.isdisjoint({"src", "style"})
    outside = {str(given["href"]) for _, given in page.elements if "href" in given}
    assert {link for link in outside if not link.startswith("#")} == {ADDRESS}
    policies = [given for tag, given in page.elements if tag == "meta" and "http-equiv" in given]
    assert policies[0]["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert not re.search(r"url\(|@import", page.style)


def test_each_bar_leads_to_its_run_in_the_tree(archive: Archive, sample: Sample) -> None:
    page = a_page(archive, sample.failed)
    ids = [str(given["id"]) for _, given in page.elements if "id" in given]
    links = [
        str(given["href"])[1:]
        for tag, given in page.elements
        if tag == "a" and str(given.get("href")).startswith("#")
    ]

    assert sorted(links) == sorted(f"run-{key.hex}" for key in (sample.failed, *sample.tasks))
    assert set(links) <= set(ids)
    assert len(ids) == len(set(ids))


def test_hostile_texts_stay_text(archive: Archive, sample: Sample) -> None:
    """In names, tags, parameters, errors, hooks: the same elements as with harmless ones."""
    shown = HOSTILE.split("\x00")[0]
    pages = []
    for text in ("harmless", HOSTILE.replace("\ud800", "")):
        error = ERROR.model_copy(update={"message": text, "traceback": text}).model_dump_json()
        run = record_run(
            sample.journal,
            CRASHED,
            Owed("Crashed", text, DeliveryStatus.DEAD, 3, error),
            run_type="flow",
            name=text,
            definition=text,
            reference=text,
            version=text,
            tags=(text,),
            parameters='[{"x": "<script>alert(1)</script>"}]',
        )
        record_run(sample.journal, RETRIED, name=text, definition=text, parent=run)
        pages.append(a_page(archive, run))
    harmless, hostile = pages

    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    assert hostile.text.count(shown) >= 6
    assert not re.search("[\x00\x1b\u202e\ufffe]", hostile.text)


def test_the_page_has_what_was_logged(archive: Archive, sample: Sample) -> None:
    """With its level, the run it was logged in if that is another, and its traceback, as text."""
    run, task = (ARun(id=key.int) for key in (sample.failed, sample.tasks[0]))
    logged = [
        line(run, "<b>begun</b>"),
        line(task, "refused", level=40, error="Traceback of it", at=AT + 1, skipped=7),
    ]
    commit(sample.journal, *logged, owner=OWNER)
    text = a_page(archive, sample.failed).text

    assert "INFO <b>begun</b>" in text
    assert "… 7 lines are not kept" in text
    assert "ERROR extract/sly-fox refusedTraceback of it" in text


def test_a_run_of_which_little_is_known_has_a_page(archive: Archive, sample: Sample) -> None:
    """It is running, and has no parameters, hooks or calls."""
    run = record_run(sample.journal, COMPLETED[:1], parameters="null", reference="a:b")
    text = a_page(archive, run).text

    assert "○ Pending" in text
    assert "No hook was owed a transition of this run." in text
    assert "Nothing was logged." in text
    assert "What failed" not in text


def test_of_many_failed_runs_the_first_are_told_and_the_others_counted(
    archive: Archive, sample: Sample
) -> None:
    flow = record_run(sample.journal, COMPLETED, run_type="flow", definition="many", name="m")
    for _ in range(TOLD + 5):
        record_run(sample.journal, RETRIED, name="same", parent=flow)
    page = a_page(archive, flow)

    assert "and 5 more" in page.text
    assert page.text.partition("Timeline")[0].count("ValueError: no such table") == TOLD
    assert f"extract × {TOLD + 5}" in page.text
