"""A real browser shows the page and the picture of a run from a file, and has no complaint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.base import AXE_FILE_PATH  # type: ignore[import-untyped, unused-ignore]

from eventflow.client.archive import Archive
from eventflow.dashboard.export.page import run_page
from eventflow.dashboard.export.story import story_of, timeline_in
from eventflow.dashboard.timeline.rendering import timeline_svg
from tests.cli.sample_journal import CRASHED, OWNER, RETRIED, Sample, record_run
from tests.dashboard.browsing import CHROMIUM, DRIVER, Browser
from tests.dashboard.stored import HOSTILE, no_page
from tests.journal.logged import line
from tests.journal.rows import ARun, commit

pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER) and os.environ.get("CI") != "true",
        reason="there is no Chromium here, or no chromedriver",
    ),
]

LOOKS = pytest.mark.parametrize("look", [(1280, "light"), (390, "dark")], ids=str)


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """Yield the browser, which must have nothing to complain about, and ask nobody."""
    one_browser.complaints()
    one_browser.hosts()
    yield one_browser
    one_browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert one_browser.complaints() == []
    assert one_browser.hosts() == set()


@pytest.fixture
def file(archive: Archive, sample: Sample, tmp_path: Path) -> Path:
    """Write the page of a run that failed, with a group of runs and hostile texts."""
    name = HOSTILE.replace("\ud800", "")
    for _ in range(20):
        record_run(sample.journal, RETRIED, definition="many", name="m", parent=sample.failed)
    record_run(sample.journal, CRASHED, definition=name, name=name, parent=sample.failed)
    commit(sample.journal, line(ARun(id=sample.failed.int), name, level=40), owner=OWNER)
    run = archive.run(sample.failed)
    assert run is not None
    page = run_page(story_of(archive, run, datetime.now(UTC)), "http://127.0.0.1:4200/x")
    (tmp_path / "run.html").write_text(page, "utf-8")

    return tmp_path / "run.html"


def shown(browser: Browser, file: Path, look: tuple[int, str]) -> None:
    """Open a file in a window of that width, in light or dark."""
    width, scheme = look
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.driver.get(file.as_uri())


@LOOKS
def test_everybody_can_use_the_page(browser: Browser, file: Path, look: tuple[int, str]) -> None:
    """axe-core finds nothing serious, and nothing is wider than the window."""
    shown(browser, file, look)
    root = "document.documentElement"

    assert browser.driver.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    browser.driver.execute_script(Path(AXE_FILE_PATH).read_text())
    found: dict[str, list[Any]] = browser.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then(done)"
    )
    # Where it cannot read a colour, such as a `color-mix`, it says nothing of any.
    assert "color-contrast" in {each["id"] for each in found["passes"]}
    serious = [each for each in found["violations"] if each["impact"] in {"serious", "critical"}]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []


def test_a_click_on_a_bar_leads_to_its_run(browser: Browser, file: Path, sample: Sample) -> None:
    shown(browser, file, (1280, "light"))
    task = sample.tasks[0].hex

    browser.one(f"#tl-{task} a").click()

    assert browser.driver.current_url.endswith(f"#run-{task}")
    assert "sly-fox" in browser.text(".tree li:target")


def test_a_picture_shows_each_run(
    browser: Browser, archive: Archive, sample: Sample, tmp_path: Path
) -> None:
    """As a file of its own, with its look: what has no look would be black."""
    timeline = timeline_in(archive, sample.failed, datetime.now(UTC))
    (tmp_path / "run.svg").write_text(timeline_svg(timeline, no_page), "utf-8")
    shown(browser, tmp_path / "run.svg", (1280, "light"))

    fills = browser.driver.execute_script(
        "return [...document.querySelectorAll('.tl-step')].map(each => getComputedStyle(each).fill)"
    )
    assert len(fills) >= timeline.count
    assert "rgb(0, 0, 0)" not in fills
