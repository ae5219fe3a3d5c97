"""A real browser, the page as a process of its own, and flows in others."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from eventflow import settings

T = TypeVar("T")

ROOT = Path(settings.__file__).parents[2]
TOKEN = "token-of-the-browser"
SECONDS = 30.0
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")

FLOWS = '''
"""Flows that wait for a file before they go on."""
import os, time
from pathlib import Path
from eventflow import bus, flow, task, get_run_logger

HERE = Path(__file__).parent

def until(name):
    while not (HERE / name).exists():
        time.sleep(0.01)

def told(flow, run, state):
    if not (HERE / "mended").exists():
        raise RuntimeError("the pager is <b>down</b>")

def heard(event): ...

bus.subscribe(heard, run_type="flow")

@task
def step(number: int):
    if number:
        until("go")
    return number

@flow(flow_run_name="first-run", on_failure=[told], on_crashed=[told])
def etl(fails: bool = False):
    get_run_logger().info("a <i>line</i>")
    step(0)
    step(1)
    if fails:
        raise ValueError("no such table")

@flow(flow_run_name='<img src=x onerror="alert(1)">{value}')
def hostile(value: str):
    get_run_logger().warning(value)
    raise ValueError(value)

@task
def item(number: int):
    return number

@flow
def many(count: int):
    # Of different names, so that they are no group.
    for number in range(count):
        item.with_options(name=f"item-{number}")(number)

@flow
def quick(n: int = 0):
    return n
'''

PAST = '''
"""What has happened before a test looks: runs of every kind, by one process."""
from contextlib import suppress
from flows import HERE, etl, hostile, many, quick

if __name__ == "__main__":
    (HERE / "go").touch()
    many(9)
    many(300)
    etl()
    with suppress(ValueError):
        etl(True)
    with suppress(ValueError):
        hostile("</pre><script>alert(2)</script>{{7*7}}'\\">")
    quick()
    quick()
'''


def start(folder: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command of eventflow in a folder."""
    command = [sys.executable, "-P", "-m", "eventflow.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    return subprocess.Popen(command, cwd=folder, text=True, env=environment, **options)


class Server:
    """The page, which can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it; returns when it listens."""
        arguments = ("serve", "--port", str(self.port), "--token", TOKEN)
        self.process = start(self._folder, *arguments, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", self.process.stdout.readline())
        assert found is not None
        self.port = int(found[1])

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def url(self, path: str = "/") -> str:
        """Return the address of a page."""
        return f"http://127.0.0.1:{self.port}{path}"


class Browser:
    """A browser that was let in."""

    def __init__(self, profile: Path) -> None:
        options = Options()
        options.binary_location = str(CHROMIUM)
        for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(each)
        options.add_argument("--window-size=1280,900")
        # Windows that cover each other count as visible.
        options.add_argument("--disable-backgrounding-occluded-windows")
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, Service(str(DRIVER)))
        self._log: Any = self.driver.get_log

    @contextmanager
    def sized(self, width: int) -> Iterator[None]:
        """Give the window a width, below 800 that of a phone."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def open(self, server: Server, path: str = "/") -> None:
        """Open a page, with the token."""
        self.driver.get(server.url(f"{path}{'&' if '?' in path else '?'}token={TOKEN}"))

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements of a selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """Return the first element of a selector, as soon as there is one."""
        return self.until(lambda: next(iter(self.all(selector)), None), selector)

    def text(self, selector: str = "main") -> str:
        """Return the text of the elements of a selector, as it is now."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText).join(' ')"
        )

        return str(self.driver.execute_script(script, selector))

    def shows(self, text: str, selector: str = "main") -> None:
        """Wait until a text is shown."""
        self.until(lambda: text in self.text(selector), text)

    def until(self, found: Callable[[], T | None], what: object) -> T:
        """Wait until something is found, and return it."""
        deadline = time.monotonic() + SECONDS
        while not (value := found()):
            assert time.monotonic() < deadline, f"{what!r} is not on the page:\n{self.text()}"
            time.sleep(0.005)

        return value

    def complaints(self) -> list[dict[str, Any]]:
        """Return the errors and reports of the console."""
        return [each for each in self._log("browser") if each["level"] != "INFO"]

    def hosts(self) -> set[str]:
        """Return the hosts that were asked for something."""
        found = set()
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = urlsplit(message["params"]["request"]["url"])
                found |= {url.netloc} if url.scheme in {"http", "https", "ws"} else set()

        return found

    def close(self) -> None:
        """End it."""
        self.driver.quit()


def end(process: subprocess.Popen[str]) -> None:
    """End a process, whatever it does."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
