"""What is sent to the browser: files as they came, and no code in attributes."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest

from eventflow.dashboard.rendering import FOLDER

STATIC = FOLDER / "static"
TEMPLATES = sorted(FOLDER.rglob("templates/*"))


@pytest.mark.parametrize("name", ["htmx.min.js", "hx-sse.min.js"])
def test_a_vendored_file_is_as_it_came(name: str) -> None:
    noted = re.search(
        rf"([0-9a-f]{{64}})  {re.escape(name)}", (STATIC / "htmx.README.txt").read_text()
    )
    assert noted is not None
    assert sha256((STATIC / name).read_bytes()).hexdigest() == noted[1]
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE.txt").read_text()


def test_no_template_needs_eval_or_an_inline_style() -> None:
    """The policy of the page forbids both, and so they would do nothing."""
    unfit = re.compile(r"hx-on|js:|javascript:|\son\w+=|\sstyle=|<script(?! src=)", re.IGNORECASE)
    pages = [each for each in TEMPLATES if each.suffix in {".html", ".jinja"}]
    assert len(pages) > 15
    assert [each.name for each in pages if unfit.search(each.read_text())] == []


def test_no_value_is_exempt_from_escaping_but_what_templates_made() -> None:
    """A stylesheet, and parts that were rendered before."""
    exempt = [
        (each.name, line.strip())
        for each in TEMPLATES
        for line in each.read_text().splitlines()
        if re.search(r"\|\s*safe", line)
    ]
    assert all("style" in line or "timeline" in line or "tl-caller" in line for _, line in exempt)


def test_nothing_is_loaded_from_elsewhere() -> None:
    own = [*TEMPLATES, STATIC / "page.js", STATIC / "page.css"]
    named = {url for each in own for url in re.findall(r"https?://[^\s\"'<)]+", each.read_text())}
    assert {url for url in named if not url.startswith("http://www.w3.org/")} == set()


def test_htmx_does_not_begin_before_its_extension_is_there() -> None:
    """Deferred, it begins by a timer of its own: a page would not be live if that came first."""
    frame = (FOLDER / "templates" / "frame.html").read_text()
    scripts = re.findall(r"asset\('(htmx|hx-sse)\.min\.js'\) \}\}\"([^>]*)>", frame)
    assert scripts == [("htmx", ""), ("hx-sse", "")]
