"""`eventflow deliveries`: what hooks are owed, shown in full, and tried again."""

from __future__ import annotations

import json

import pytest

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery
from tests.cli.conftest import Invoke
from tests.cli.story import Story


def the_dead(story: Story) -> str:
    """Give the id of the one dead delivery, as it stands now."""
    (dead,) = story.journal.deliveries(DeliveryQuery(hook="alerts:page"))

    return dead.id.hex


def test_deliveries_are_listed_newest_first(invoke: Invoke, told_story: Story) -> None:
    """With hook, state, run, and the last error."""
    head, *rows = invoke("deliveries", "ls").stdout.splitlines()
    assert head.split() == [
        *("ID", "STATUS", "HOOK", "ON", "RUN", "ATTEMPTS", "UPDATED", "ERROR"),
    ]
    assert [row.split()[2] for row in rows] == ["alerts:<lambda>", "alerts:page", "alerts:begun"]
    assert "dead" in rows[1]
    assert rows[1].endswith("ValueError: no such table")
    assert "etl/brave-otter" in rows[1]


@pytest.mark.parametrize(
    ("options", "hooks"),
    [
        (["--status", "dead"], ["alerts:page"]),
        (["--status", "dead", "--status", "pending"], ["alerts:page"]),
        (["--hook", "*:b*"], ["alerts:begun"]),
        (["--run", "brave-otter", "-n", "1"], ["alerts:<lambda>"]),
        (["--run", "quick-hare"], []),
    ],
)
def test_deliveries_are_selected(
    invoke: Invoke, told_story: Story, options: list[str], hooks: list[str]
) -> None:
    """By status, by hook, by run; the limit keeps the newest."""
    found = json.loads(invoke("deliveries", "ls", "--json", *options).stdout)
    assert [one["hook"] for one in found] == hooks
    assert (invoke("deliveries", "ls", *options).stdout == "") is (not hooks)


def test_a_delivery_is_shown_with_its_error_in_full(invoke: Invoke, told_story: Story) -> None:
    """By the end of its id, and what its hook survives."""
    ended = invoke("deliveries", "show", the_dead(told_story)[-8:])
    assert ended.exit_code == 0
    assert ended.stdout.startswith("dead  alerts:page\n")
    for part in (
        str(told_story.failed),
        "attempts  3",
        "a reboot\n",
        "Traceback\nValueError: no\n",
    ):
        assert part in ended.stdout
    by_value = json.loads(invoke("deliveries", "ls", "--json", "--hook", "*lambda*").stdout)
    assert "cannot be imported" in invoke("deliveries", "show", by_value[0]["id"]).stdout


def test_dead_deliveries_are_made_pending_again(invoke: Invoke, told_story: Story) -> None:
    """By id, by run, or all; a second time there is nothing to do."""
    ended = invoke("deliveries", "redrive", the_dead(told_story))
    assert ended.stdout.startswith("1 delivery is pending again")
    (row,) = told_story.journal.deliveries(DeliveryQuery(hook="alerts:page"))
    assert (row.status, row.attempts) == (DeliveryStatus.PENDING, 0)
    again = invoke("deliveries", "redrive", "--all")
    assert (again.exit_code, again.stdout) == (0, "There is no dead delivery to try again.\n")
    assert json.loads(invoke("deliveries", "redrive", "--run", "brave-otter", "--json").stdout) == {
        "redriven": 0,
        "deliveries": [],
    }


def test_only_dead_deliveries_are_redriven(invoke: Invoke, told_story: Story) -> None:
    """One that is named and is not dead is refused, before any is touched."""
    (begun,) = told_story.journal.deliveries(DeliveryQuery(hook="alerts:begun"))
    ended = invoke("deliveries", "redrive", the_dead(told_story), str(begun.id))
    assert ended.exit_code == 2
    assert "is delivered; only dead ones are tried again" in ended.stderr
    assert told_story.journal.deliveries(DeliveryQuery(statuses=[DeliveryStatus.DEAD]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["redrive"], "Name deliveries by their ids, or give --run RUN, or --all."),
        (["redrive", "abcdef", "--all"], "Name deliveries by their ids"),
        (["redrive", "f" * 32], "The journal knows no delivery"),
        (["show", "nothing"], "The journal knows no delivery 'nothing'"),
        (["ls", "--status", "gone"], "'gone' is not one of"),
    ],
)
def test_wrong_usage_ends_with_2(
    invoke: Invoke, told_story: Story, arguments: list[str], said: str
) -> None:
    """The message says what would be right."""
    ended = invoke("deliveries", *arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr
