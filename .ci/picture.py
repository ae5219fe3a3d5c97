"""Make the picture of the page that the README shows, of runs that are made for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "examples" / "page.png"

FLOWS = """
import time
from datetime import date
from eventflow import flow, get_run_logger, tags, task

def announce(flow, run, state): ...

def page_on_call(flow, run, state):
    raise ConnectionError("pager.example.com: 503 Service Unavailable")

@task(retries=2, retry_delay_seconds=0.15)
def extract(table: str, reachable: bool):
    time.sleep(0.06)
    if not reachable:
        raise ConnectionError("warehouse: connection reset by peer")
    get_run_logger().info("rows read", table=table)
    return table

@task
def transform(part: int):
    time.sleep(0.004 * (part % 7))

@task
def load(table: str):
    time.sleep(0.05)

@flow(on_completion=[announce], on_failure=[page_on_call])
def nightly_load(day: date, tables: list[str]):
    transform.map(range(24)).wait()
    for table in tables:
        load(extract(table, table != "orders" or day.day % 5 > 0))

@flow
def publish(report: str):
    time.sleep(0.02)

for day in range(3, 16):
    with tags("prod"):
        nightly_load(date(2026, 3, day), ["customers", "orders", "items"], return_state=True)
    publish(f"report-{day}")
"""


def main() -> None:
    """Run the flows, and have a browser show the page."""
    chromium = shutil.which("chromium") or sys.exit("It needs a command `chromium`.")
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"EVENTFLOW_HOME": f"{folder}/home", "EVENTFLOW_LOG_LEVEL": "CRITICAL"}
        flows = Path(folder, "flows.py")
        flows.write_text(FLOWS)
        subprocess.run([sys.executable, flows], check=True)
        command = [sys.executable, "-m", "eventflow.cli", "serve", "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None  # noqa: S101 - for the type checker
            address = re.search(r"http\S+", server.stdout.readline())
            assert address is not None  # noqa: S101 - it is printed first
            PICTURE.parent.mkdir(exist_ok=True)
            subprocess.run(
                [
                    *(chromium, "--headless", "--no-sandbox", "--hide-scrollbars"),
                    *("--window-size=1200,760", f"--screenshot={PICTURE}", address[0]),
                ],
                check=True,
                stderr=subprocess.DEVNULL,
            )
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
