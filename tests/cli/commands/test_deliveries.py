"""`eventflow deliveries`: deliveries are listed, shown in full, and redriven."""

from __future__ import annotations

import json

import pytest

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery
from tests.cli.conftest import Invoke
from tests.cli.sample_journal import Sample


def dead_delivery(story: Sample) -> str:
    """Return the id of the dead delivery."""
    (dead,) = story.journal.deliveries(DeliveryQuery(hook="alerts:page"))

    return dead.id.hex


def test_deliveries_are_listed_newest_first(invoke: Invoke, sample: Sample) -> None:
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
    invoke: Invoke, sample: Sample, options: list[str], hooks: list[str]
) -> None:
    """By status, by hook, by run; the limit keeps the newest."""
    listed = json.loads(invoke("deliveries", "ls", "--json", *options).stdout)
    assert [delivery["hook"] for delivery in listed] == hooks
    assert (invoke("deliveries", "ls", *options).stdout == "") is (not hooks)


def test_a_delivery_is_shown_with_its_error_in_full(invoke: Invoke, sample: Sample) -> None:
    """By the end of its id, with its error and what its hook survives."""
    result = invoke("deliveries", "show", dead_delivery(sample)[-8:])
    assert result.exit_code == 0
    assert result.stdout.startswith("dead  alerts:page\n")
    for part in (
        str(sample.failed),
        "attempts  3",
        "a reboot\n",
        "  Traceback\n  ValueError: no\n",
    ):
        assert part in result.stdout
    by_value = json.loads(invoke("deliveries", "ls", "--json", "--hook", "*lambda*").stdout)
    assert "cannot be imported" in invoke("deliveries", "show", by_value[0]["id"]).stdout


def test_dead_deliveries_are_made_pending_again(invoke: Invoke, sample: Sample) -> None:
    """By id, by run, or all; the second time there is none."""
    result = invoke("deliveries", "redrive", dead_delivery(sample))
    assert result.stdout.startswith("1 delivery is pending again")
    (row,) = sample.journal.deliveries(DeliveryQuery(hook="alerts:page"))
    assert (row.status, row.attempts) == (DeliveryStatus.PENDING, 0)
    again = invoke("deliveries", "redrive", "--all")
    assert (again.exit_code, again.stdout) == (0, "There is no dead delivery to try again.\n")
    assert json.loads(invoke("deliveries", "redrive", "--run", "brave-otter", "--json").stdout) == {
        "redriven": 0,
        "deliveries": [],
    }


def test_only_dead_deliveries_are_redriven(invoke: Invoke, sample: Sample) -> None:
    """A delivery that is not dead is refused, before any is redriven."""
    (begun,) = sample.journal.deliveries(DeliveryQuery(hook="alerts:begun"))
    result = invoke("deliveries", "redrive", dead_delivery(sample), str(begun.id))
    assert result.exit_code == 2
    assert "is delivered; only dead ones are tried again" in result.stderr
    assert sample.journal.deliveries(DeliveryQuery(statuses=[DeliveryStatus.DEAD]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["redrive"], "Name deliveries by their ids, or give --run RUN, or --all."),
        (["redrive", "abcdef", "--all"], "Name deliveries by their ids"),
        (["redrive", "f" * 32], "The journal knows no delivery"),
        (["show", "nothing"], "The journal knows no delivery 'nothing'"),
        (["ls", "--status", "gone"], "'gone' is not one of"),
    ],
)
def test_wrong_usage_ends_with_2(
    invoke: Invoke, sample: Sample, arguments: list[str], message: str
) -> None:
    """With a message that says what is expected."""
    result = invoke("deliveries", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
