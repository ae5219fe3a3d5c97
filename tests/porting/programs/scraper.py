"""A scraper: the headlines of several pages, each page a task run."""
import os
import re

import httpx
from prefect import flow, task, unmapped
from prefect.futures import wait   # waits for all


@task(retries=1, retry_delay_seconds=0.01, tags=["web"])
def fetch(path: str, base: str) -> str:
    return httpx.get(base + path).raise_for_status().text


@task
def headline(html: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", html)
    return found.group(1) if found else "nothing"


@flow
def scrape(paths: list[str]) -> list[str]:
    pages = fetch.map(paths, base=unmapped(os.environ["SHOP_URL"]))
    headlines = headline.map(pages)
    done, not_done = wait(headlines)
    assert len(done) == len(paths), not_done
    return [future.result() for future in headlines]


if __name__ == '__main__':
    for line in scrape(["/news", "/weather", "/empty"]): print(line)

# prints:
# All is well
# Rain
# nothing
