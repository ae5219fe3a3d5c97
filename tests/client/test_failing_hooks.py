"""A hook fails as long as its last deliveries are all dead."""

from __future__ import annotations

import asyncio

from eventflow import Hook, flow
from eventflow.client import get_client
from eventflow.client.archive import Archive
from eventflow.client.records import FailingHook
from eventflow.hooks.ledger import DEAD, DELIVERED
from eventflow.journal.contract import Journal
from tests.journal.rows import ARun, commit

failing: set[str] = set()


def tell(flow: object, run: object, state: object) -> None:
    if "tell" in failing:
        raise ValueError("no route")


def page(flow: object, run: object, state: object) -> None:
    if "page" in failing:
        raise ValueError("no pager")


@flow(on_completion=[Hook(tell, id="tell[1]"), page])
def etl() -> None: ...


def read() -> list[FailingHook]:
    async def main() -> list[FailingHook]:
        async with get_client() as client:
            return await client.read_failing_hooks()

    return asyncio.run(main())


def test_a_hook_fails_until_it_succeeds() -> None:
    """The one that failed last comes first, with how often it has since it last succeeded."""
    failing.clear()
    assert read() == []
    etl()
    assert read() == []
    failing.add("tell")
    etl()
    etl()
    (hook,) = read()
    assert (hook.hook, hook.dead) == ("tell[1]", 2)
    assert hook.since is not None
    assert hook.last.occurred is not None
    assert hook.since < hook.last.occurred
    assert "no route" in str(hook.last.error)
    failing.add("page")
    etl()
    assert {(hook.hook.rpartition(":")[2], hook.dead) for hook in read()} == {
        ("tell[1]", 3),
        ("page", 1),
    }
    failing.remove("tell")
    etl()
    (hook,) = read()
    assert (hook.hook, hook.dead) == (f"{__name__}:page", 2)


def test_every_journal_knows_them(journal: Journal) -> None:
    """Also where another hook of the same run has not failed; newer runs count."""
    hook, other = ("alerts:notify(a[1], *)", 1), ("alerts:page", 1)
    for status in (DEAD, DELIVERED, DEAD, DEAD):
        run = ARun()
        commit(journal, run.enter("PRC", hook, other, begun=2, done=0))
        commit(journal, run.settle(status, 1, ordinal=0), run.settle(DELIVERED, 1, ordinal=1))
    (failing,) = Archive(journal).failing_hooks()
    assert (failing.hook, failing.dead) == (hook[0], 2)
    assert failing.last.run_id == run.id
