"""Tasks: caching, mapping, states instead of results, log_prints."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from eventflow import allow_failure, flow, task, unmapped
from eventflow.errors import CacheKeyError
from eventflow.states import AnyState
from eventflow.tasks import exponential_backoff, task_input_hash

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


class Counted:
    """A body that counts its calls."""

    def __init__(self, **options: Any) -> None:
        self.calls = 0
        self.task = task(**options)(self._body)

    def _body(self, number: int = 0) -> int:
        self.calls += 1
        return self.calls


def by_number(context: Any, parameters: dict[str, Any]) -> str:
    return f"{context.task.name}-{parameters['number']}"


def test_caching_by_key() -> None:
    """A result is kept under its key; another key is another result."""
    counted = Counted(cache_key_fn=by_number)

    assert [counted.task(1), counted.task(1), counted.task(2), counted.task(number=1)] == [
        *(1, 1),
        *(2, 1),
    ]


def test_no_key_is_no_cache() -> None:
    """A key function that gives None switches the cache off for a call."""
    counted = Counted(cache_key_fn=lambda context, parameters: None)

    assert [counted.task(), counted.task()] == [1, 2]


def test_expiration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept result expires."""
    now = [100.0]
    monkeypatch.setattr("eventflow.runs.result_cache.time.monotonic", lambda: now[0])
    counted = Counted(cache_key_fn=by_number, cache_expiration=timedelta(seconds=10))

    assert counted.task() == 1
    now[0] += 9
    assert counted.task() == 1
    now[0] += 2
    assert counted.task() == 2


def test_refresh() -> None:
    """refresh_cache calls the body and replaces what is kept."""
    counted = Counted(cache_key_fn=by_number)

    assert counted.task() == 1
    assert counted.task.with_options(refresh_cache=True)() == 2
    assert counted.task() == 2


def test_failures_are_not_kept() -> None:
    """Only a completed run's result is kept."""
    outcomes: list[Any] = [ValueError(), 7]

    @task(cache_key_fn=lambda context, parameters: "key")
    def work() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert work(return_state=True).is_failed()
    assert work() == work() == 7


@pytest.mark.parametrize(
    ("key_fn", "words"),
    [
        (lambda context, parameters: ["unhashable"], "gave a list"),
        (lambda context, parameters: 3, "gave a int"),
        (lambda context, parameters: parameters["nothing"], "raised KeyError: 'nothing'"),
    ],
)
def test_keys_that_cannot_be(key_fn: Any, words: str) -> None:
    """A key that is no string, or a key function that raises, fails the run."""
    counted = Counted(cache_key_fn=key_fn, name="counted", retries=1)
    with pytest.raises(CacheKeyError, match=f"The cache_key_fn of counted {words}"):
        counted.task()

    assert counted.calls == 0


def test_cached_results_in_async_code() -> None:
    """Async and submitted runs share the cache."""

    @task(cache_key_fn=lambda context, parameters: "key")
    async def work() -> object:
        return object()

    @flow
    async def main() -> bool:
        first = await work()
        again: AnyState = await work(return_state=True)
        return again.name == "Cached" and first is again.result() is await work.submit()

    assert asyncio.run(main())


@task
def pair(left: Any, right: Any = "r") -> tuple[Any, Any]:
    return left, right


def test_mapping() -> None:
    """Iterables are spread, everything else goes whole to every run."""

    @task
    def numbers() -> list[int]:
        return [1, 2]

    @flow
    def main() -> None:
        assert pair.map([1, 2], "ab").result() == [(1, "ab"), (2, "ab")]
        assert pair.map(range(2), right=iter("ab")).result() == [(0, "a"), (1, "b")]
        assert pair.map([1], unmapped([1, 2])).result() == [(1, [1, 2])]
        assert pair.map([1], {"a": 1}).result() == [(1, {"a": 1})]
        assert pair.map([1], right=None).result() == [(1, None)]
        assert pair.map(allow_failure([1, 2]), allow_failure(3)).result() == [(1, 3), (2, 3)]
        assert pair.map(pair.map([1, 2])).result() == [((1, "r"), "r"), ((2, "r"), "r")]
        assert pair.map([1, 2], numbers.submit()).result() == [(1, 1), (2, 2)]
        assert pair.map([]).result() == []
        assert pair.map([1], wait_for=[numbers.submit()]).wait()

    main()


def test_prints(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """A print in the body of a task that wants it logged goes to its logger."""
    caplog.set_level("INFO", "eventflow")

    @task(log_prints=True)
    def speak() -> None:
        print("logged", 1, sep="-")

    @task
    def mumble() -> None:
        print("printed")

    speak()
    mumble()
    assert [record.message for record in caplog.records] == ["logged-1"]
    assert caplog.records[0].name == "eventflow.task_runs"
    assert capsys.readouterr().out == "printed\n"


def test_delays_and_keys_beside_the_decorator() -> None:
    """`exponential_backoff` and `task_input_hash` fit the options of a task."""
    calls: list[int] = []

    @task(
        retries=3,
        retry_delay_seconds=exponential_backoff(0.001),
        cache_key_fn=task_input_hash,
    )
    def flaky(number: int) -> int:
        calls.append(number)
        if len(calls) < 4:
            raise OSError

        return number

    assert [flaky(1), flaky(1), flaky(number=1), flaky(2)] == [1, 1, 1, 2]
    assert calls == [1, 1, 1, 1, 2]
    assert flaky.retry.delays == (0.001, 0.002, 0.004)
