"""The runners that the contract of runners is tested with, each made once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest

from eventflow.runners import ExecutorTaskRunner, ProcessPoolTaskRunner, ThreadPoolTaskRunner


def loky_pool() -> Executor:
    import loky

    pool: Executor = loky.ProcessPoolExecutor(1)
    return pool


@pytest.fixture(scope="session")
def threads() -> ThreadPoolTaskRunner:
    return ThreadPoolTaskRunner(2)


@pytest.fixture(scope="session")
def threads_of_others() -> Iterator[ExecutorTaskRunner]:
    with ThreadPoolExecutor(2) as executor:
        yield ExecutorTaskRunner(executor)


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolTaskRunner]:
    with ProcessPoolTaskRunner(2) as runner:
        yield runner


@pytest.fixture(scope="session")
def loky() -> Iterator[ExecutorTaskRunner]:
    with ExecutorTaskRunner(loky_pool, pools=2) as runner:
        yield runner


WORKERS = ["processes", "loky"]
"""The runners whose workers are other processes."""

SHIPPING = ["threads_of_others", *WORKERS]
"""The runners that ship bodies."""


@pytest.fixture(params=["threads", *SHIPPING])
def runner(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=SHIPPING)
def shipping(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=WORKERS)
def workers(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)
