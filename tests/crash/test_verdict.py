"""The explorer's judge finds what is wrong: one that cannot find anything proves nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from eventflow.states import StateType
from tests.crash.kills import Zygote, order_for
from tests.crash.verdict import Remains, violations


@pytest.fixture(scope="module")
def remains(tmp_path_factory: pytest.TempPathFactory) -> Remains:
    """Give what a process leaves that ends well."""
    home = tmp_path_factory.mktemp("home")
    order = order_for(home, "process", guardian=False)
    order.workload = "retries of a hook"
    with closing(Zygote()) as zygote:
        (end,) = zygote.run(order)
    assert end.status == 0

    return Remains.read(home)


def first(found: dict[str, Any]) -> str:
    return next(iter(found))


def without(found: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: one for name, one in found.items() if name != key}


def changed(found: dict[str, Any], key: str, **facts: object) -> dict[str, Any]:
    return {**found, key: found[key]._replace(**facts)}


def test_nothing_wrong(remains: Remains) -> None:
    """What a process leaves that ends well is as it must be."""
    assert violations(remains) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda one: one._replace(heard=one.heard[1:]), "but it never ran"),
        (lambda one: one._replace(heard=[*one.heard, one.heard[-1]]), "after (2, "),
        (lambda one: one._replace(heard=one.heard[::-1]), "after (2, "),
        (
            lambda one: one._replace(heard=[*one.heard, one.heard[-1]._replace(event="x")]),
            "for a transition of",
        ),
        (
            lambda one: one._replace(deliveries=without(one.deliveries, first(one.deliveries))),
            "is not owed",
        ),
        (
            lambda one: one._replace(
                deliveries=changed(one.deliveries, first(one.deliveries), status="running")
            ),
            "is running after 1 attempts",
        ),
        (lambda one: one._replace(events=without(one.events, first(one.events))), "entered"),
        (
            lambda one: one._replace(
                runs=changed(one.runs, first(one.runs), ended=None, state_type=StateType.RUNNING)
            ),
            "has no end",
        ),
        (
            lambda one: one._replace(runs=changed(one.runs, first(one.runs), state_id="x")),
            "which has another",
        ),
        (lambda one: one._replace(told=[["body", "x", 1, 0]]), "of which nothing is known"),
        (lambda one: one._replace(paid=Counter()), "was paid 0 times"),
        (lambda one: one._replace(paid=one.paid + one.paid), "was paid 2 times"),
        (lambda one: one._replace(owners=["x"]), "counts as alive"),
        (lambda one: one._replace(findings=["a gap"]), "a gap"),
        (lambda one: one._replace(said=["Traceback"]), "Traceback"),
    ],
)
def test_what_is_wrong_is_found(
    remains: Remains, spoil: Callable[[Remains], Remains], words: str
) -> None:
    """Each thing that must not be is said when it is."""
    assert any(words in one for one in violations(spoil(remains)))


def test_what_a_moment_may_take(remains: Remains) -> None:
    """Without a spool another process may run a hook again that was done, but not the same one."""
    again = remains.heard[-1]
    other = remains._replace(heard=[*remains.heard, again._replace(pid=again.pid + 1)])

    assert violations(other, spooled=False) == []
    assert violations(remains._replace(heard=[*remains.heard, again]), spooled=False) != []
