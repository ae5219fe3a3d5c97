"""What a person sees in a real browser while flows run, fail and die in other processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.base import AXE_FILE_PATH

from eventflow.settings import SETTINGS
from tests.dashboard.browsing import (
    CHROMIUM,
    DRIVER,
    FLOWS,
    PAST,
    ROOT,
    Browser,
    Server,
    end,
    start,
)

pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER) and os.environ.get("CI") != "true",
        reason="there is no Chromium here, or no chromedriver",
    ),
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with flows and a home of its own."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EVENTFLOW_HOME", str(tmp_path / "home"))
    (tmp_path / "flows.py").write_text(FLOWS)

    return tmp_path


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    made = Server(home)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a journal in which much has happened: for tests that look, and change nothing."""
    folder = tmp_path_factory.mktemp("past")
    (folder / "flows.py").write_text(FLOWS)
    (folder / "past.py").write_text(PAST)
    with pytest.MonkeyPatch.context() as patched:
        for name in SETTINGS:
            patched.delenv(name, raising=False)
        patched.setenv("EVENTFLOW_HOME", str(folder / "home"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "past.py"],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        made = Server(folder)
    yield made
    made.kill()


@pytest.fixture
def browser(one_browser: Browser, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Yield the browser, which must have nothing to complain about, and ask this host only."""
    if "past" not in request.fixturenames:
        # It is killed after this has left it.
        request.getfixturevalue("server")
    one_browser.complaints()
    one_browser.hosts()
    yield one_browser
    assert one_browser.complaints() == []
    assert {host.partition(":")[0] for host in one_browser.hosts()} <= {"127.0.0.1"}
    # Before the server is killed, of which it would complain.
    one_browser.driver.get("about:blank")


@pytest.fixture
def run(home: Path) -> Iterator[Any]:
    """Yield a function that starts a flow in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(start(home, "run", "--no-progress", *arguments, **options))
        return started[-1]

    yield begin
    for process in started:
        end(process)


def test_a_run_appears_and_grows(browser: Browser, server: Server, run: Any, home: Path) -> None:
    browser.open(server)
    browser.shows("there is no journal")
    process = run("flows.py:etl")
    browser.shows("first-run", ".list")
    browser.shows("Running", ".list")
    browser.one(".list a.run").click()
    browser.shows("etl/first-run", "h1")
    browser.shows("step-", ".tl-rows")
    (home / "go").touch()
    browser.shows("Completed", "h1")
    assert process.wait() == 0
    browser.shows("Completed", ".tl-rows")
    browser.driver.back()
    browser.shows("Completed", ".list")


def test_a_run_is_cancelled(browser: Browser, server: Server, run: Any) -> None:
    run("flows.py:etl")
    browser.open(server)
    browser.one(".list a.run").click()
    browser.one("button.danger").click()
    browser.driver.switch_to.alert.accept()
    browser.shows("Asked to end", "#said")
    browser.shows("Cancelled", "h1")


def test_a_dead_delivery_is_redriven_and_delivered(
    browser: Browser, server: Server, run: Any, home: Path
) -> None:
    (home / "go").touch()
    run("flows.py:etl", "--fails").wait()
    browser.open(server)
    browser.shows("has failed 1 delivery", ".alert")
    browser.one(".alert a").click()
    browser.shows("RuntimeError: the pager is <b>down</b>", ".delivery")
    (home / "mended").touch()
    browser.one(".delivery input").click()
    browser.one("button[form=selection]").click()
    browser.shows("1 delivery is pending again", "#said")
    browser.shows("pending", ".delivery")
    assert start(home, "recover", stdout=subprocess.DEVNULL).wait() == 0
    browser.shows("No delivery matches these filters")
    browser.one(".empty a").click()
    browser.shows("delivered", ".delivery")


def test_a_killed_process_leaves_a_story(browser: Browser, server: Server, run: Any) -> None:
    process = run("flows.py:etl")
    browser.open(server)
    browser.one(".list a.run").click()
    browser.shows("step-", ".tl-rows")
    process.send_signal(signal.SIGKILL)
    browser.shows("Crashed", "h1")
    browser.shows("vanished: it was killed by SIGKILL (signal 9)", ".run-head .cause")
    browser.shows("Finished by its guardian (pid ", ".run-head .cause")
    browser.shows("after its last transition", ".facts")
    assert str(process.pid) in browser.text(".facts")
    browser.one('.tabs a[href="#why"]').click()
    why = browser.driver.execute_script("return document.querySelector('#why').textContent")
    # The crash was entered by another process.
    assert "flows:heard" in why
    assert "told of Pending, Running" in " ".join(why.split())
    assert "Crashed: its process had ended" in why


def test_the_stream_goes_on_over_a_restarted_server(
    browser: Browser, server: Server, run: Any, home: Path
) -> None:
    run("flows.py:quick").wait()
    browser.open(server)
    browser.shows("quick", ".list")
    browser.shows("Live", "#connection")
    server.kill()
    run("flows.py:quick").wait()
    browser.shows("Not connected", "#connection")
    assert len(browser.all(".list .row")) == 1
    server.start()
    browser.until(lambda: len(browser.all(".list .row")) == 2, "the second run")
    run("flows.py:quick").wait()
    browser.until(lambda: len(browser.all(".list .row")) == 3, "the third run")
    names = [row.get_attribute("id") for row in browser.all(".list .row")]
    assert len(set(names)) == 3
    # That the server was away is all that the console complains of.
    said = [each["message"] for each in browser.complaints()]
    assert [each for each in said if "ERR_" not in each and "htmx:sse:error" not in each] == []


def test_eight_windows_are_live_at_once(browser: Browser, server: Server, run: Any) -> None:
    """A browser has six connections to a host."""
    driver = browser.driver
    first = driver.current_window_handle
    try:
        for place in range(8):
            if place:
                driver.switch_to.new_window("window")
            browser.open(server)
            browser.shows("there is no journal")
        run("flows.py:quick").wait()
        for window in driver.window_handles:
            driver.switch_to.window(window)
            assert driver.execute_script("return document.visibilityState") == "visible"
            browser.shows("Completed", ".list")
    finally:
        for window in driver.window_handles:
            if window != first:
                driver.switch_to.window(window)
                driver.close()
        driver.switch_to.window(first)


PANE = "const pane = document.querySelector('.timeline');"
HIDDEN = (
    f"{PANE} return [pane.scrollWidth - pane.clientWidth, pane.scrollHeight - pane.clientHeight]"
)
AXIS = f"""{PANE} pane.scrollTop = pane.scrollHeight;
return document.querySelector('.tl-head').getBoundingClientRect().top
  - pane.getBoundingClientRect().top"""


LINKS = "return [...document.querySelectorAll('.list a.run')].map(each => each.href)"


def test_timelines_are_whole_or_keep_their_axis(browser: Browser, past: Server) -> None:
    """A small one is shown whole, wide and on a phone; over a large one the axis stays in view."""
    browser.open(past, "/?flow=many")
    large, small = browser.until(
        lambda: len(found := browser.driver.execute_script(LINKS)) == 2 and found, "two runs"
    )
    for width in (1280, 390):
        with browser.sized(width):
            browser.driver.get(small)
            browser.shows("-", ".tl-rows")
            assert browser.driver.execute_script(HIDDEN) == [0, 0]
    browser.driver.get(large)
    browser.until(lambda: len(browser.all(".tl-row")) == 301, "the timeline")
    across, down = browser.driver.execute_script(HIDDEN)
    assert (across, down > 0) == (0, True)
    assert abs(browser.driver.execute_script(AXIS)) < 1.5


def test_hostile_text_stays_text(browser: Browser, past: Server) -> None:
    value = "</pre><script>alert(2)</script>{{7*7}}'\">"
    browser.open(past)
    name = f'<img src=x onerror="alert(1)">{value}'
    browser.shows(f"hostile/{name}", ".list")
    browser.driver.get(past.url("/?flow=hostile"))
    browser.one(".list a.run").click()
    browser.shows(name, "h1")
    for tab in ("events", "hooks", "why", "logs", "parameters", "tree"):
        browser.one(f'.tabs a[href="#{tab}"]').click()
        browser.until(lambda tab=tab: browser.one(f"#{tab}").is_displayed(), tab)  # type: ignore[misc]
    browser.one('.tabs a[href="#logs"]').click()
    browser.shows(value, "#logs")
    assert browser.all("main img, main script") == []


def test_filters_are_links_and_rows_are_gone_through_by_keys(
    browser: Browser, past: Server
) -> None:
    browser.open(past)
    browser.until(lambda: len(browser.all(".list .row")) == 7, "seven runs")
    browser.one("body").send_keys("/")
    browser.driver.switch_to.active_element.send_keys("FIRST\n")
    browser.until(lambda: "text=FIRST" in browser.driver.current_url, "the filter")
    browser.until(lambda: len(browser.all(".list .row")) == 2, "two runs of that text")
    browser.driver.get(past.url("/?flow=q*&state=completed"))
    second = browser.until(
        lambda: len(found := browser.driver.execute_script(LINKS)) == 2 and found, "two runs"
    )[1]
    browser.shows("2", ".chip.completed")
    browser.one("body").send_keys("jjjk")
    browser.driver.switch_to.active_element.send_keys("j\n")
    browser.until(lambda: browser.driver.current_url == second, "the second run")
    browser.one("body").send_keys("?")
    assert browser.one("#help").is_displayed()


def test_everybody_can_use_it(browser: Browser, past: Server) -> None:
    """Nothing is wider than the window, and axe-core finds nothing serious on any page.

    It judges each page in either scheme: one of them wide, the other on a phone.
    """
    browser.open(past, "/?flow=etl&state=failed")
    page = browser.one(".list a.run").get_attribute("href")
    assert page is not None
    hooks, deliveries = f"{page}#hooks", past.url("/deliveries")
    wide = (past.url(), page, hooks, f"{page}#logs", deliveries)
    narrow = (past.url(), hooks, deliveries)
    try:
        for width, scheme, pages in ((1280, "light", wide), (390, "dark", narrow)):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            with browser.sized(width):
                for path in pages:
                    browser.driver.get("about:blank")
                    browser.driver.get(path)
                    browser.one("main")
                    assert found_by_axe(browser) == []
                    assert fits(browser)
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def fits(browser: Browser) -> bool:
    """Return whether nothing is wider than the window."""
    root = "document.documentElement"

    return bool(browser.driver.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth"))


def found_by_axe(browser: Browser) -> list[Any]:
    """Return what axe-core finds that is serious or critical; it has to judge the contrast."""
    browser.driver.execute_script(Path(AXE_FILE_PATH).read_text())
    found = browser.driver.execute_async_script("axe.run().then(arguments[0])")
    # Where it cannot read a colour, it says nothing of it, and finds nothing.
    assert "color-contrast" in {each["id"] for each in found["passes"]}

    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
    ]
