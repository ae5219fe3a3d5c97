"""An owner and its guardian deliver at once what is due because a state has lasted."""

from __future__ import annotations

from collections import Counter

from tests.guarantee.sandbox import Sandbox

STAY, LEAVE = 1_000, 100

# The timer is held up until the guardian has begun; from then on both deliver the same thousand.
CROWD = """
import asyncio
from eventflow import Hook
from eventflow.eventbus.deadlines import timer

STAY, LEAVE = {stay}, {leave}
run_timer = timer.run

def told_of():
    try:
        with open("records") as file:
            return [json.loads(line)[0] for line in file]
    except FileNotFoundError:
        return []

def wait_for_guardian():
    while not told_of():
        time.sleep(0.01)
    run_timer()

timer.run = wait_for_guardian

def slow(definition, run, state):
    record(run.name, state.name)

@task(task_run_name="{{kind}}-{{number}}", hooks=[Hook(slow, state="Running", lasting=3)])
async def step(kind, number):
    if kind == "stay":
        await over.wait()

@flow
async def crowd():
    global over
    over = asyncio.Event()
    staying = [asyncio.ensure_future(step("stay", number)) for number in range(STAY)]
    await asyncio.gather(*(step("leave", number) for number in range(LEAVE)))
    while len(told_of()) < STAY:
        await asyncio.sleep(0.05)
    over.set()
    await asyncio.gather(*staying)

if __name__ == "__main__":
    asyncio.run(crowd())
"""


def test_owner_and_guardian_race(sandbox: Sandbox) -> None:
    """A thousand times: each is told of once, by one of the two, and none that was left in time."""
    program = sandbox.python(
        CROWD.format(stay=STAY, leave=LEAVE), EVENTFLOW_GUARDIAN_GRACE_SECONDS="0.01"
    )

    assert program.end() == 0, program.output
    records = sandbox.records()
    expected = {f"stay-{number}": 1 for number in range(STAY)}
    assert Counter(name for name, _ in records) == expected
    assert {state for _, state in records} == {"Running"}
    by_owner = sum(record.pid == program.pid for record in records)
    assert 0 < by_owner < STAY
    sandbox.assert_clean()
