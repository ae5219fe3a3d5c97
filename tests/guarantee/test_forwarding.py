"""Events are forwarded however their process ends, each at least once and in order per run."""

from __future__ import annotations

import signal

from tests.forwarding.conftest import TOKEN, Receiver, serving
from tests.guarantee.sandbox import Sandbox

# In no function that another process could import: what it is made of is recorded.
WORK = """
    from eventflow.forwarding import forward

    def work():
        forward(
            {url},
            headers={{"X-Key": "env:KEY"}},
            name="etl",
            retries=1000,
            retry_delay_seconds=0.01,
        )

        @flow(name="etl")
        def etl():
            hold()

        etl()

    if __name__ == "__main__":
        work()
"""


def places(receiver: Receiver) -> list[tuple[int, str]]:
    """Return what was accepted, without duplicates, in the order of its first arrival."""
    seen = dict.fromkeys(
        (event.id, int(event.sequence or ""), event.type) for event in receiver.accepted
    )
    assert len({event.runid for event in receiver.accepted}) == 1

    return [(sequence, kind.rpartition(".")[2]) for _, sequence, kind in seen]


def test_a_killed_process_owes_no_event(sandbox: Sandbox) -> None:
    """The guardian tells the receiver of the crash: the URL comes from the journal."""
    with serving() as receiver:
        program = sandbox.python(
            WORK.format(url="os.environ['TARGET']"), TARGET=receiver.url, KEY="7"
        )
        sandbox.wait_for_record("ready")
        program.send(signal.SIGKILL)
        assert TOKEN not in program.read_to_end()
        sandbox.wait_until_recovered()
    sandbox.assert_clean()
    assert places(receiver) == [(0, "Pending"), (1, "Running"), (2, "Crashed")]
    crashed = receiver.accepted[-1].transition()
    assert crashed.from_state is not None
    assert crashed.from_state.name == "Running"


def test_what_was_being_sent_again_is_sent_by_the_guardian(sandbox: Sandbox) -> None:
    """Killed while its receiver refuses; the order holds, and the state before is told."""
    with serving() as receiver:
        receiver.answers.extend([204, *[503] * 1_000])
        program = sandbox.python(WORK.format(url="'env:TARGET'"), TARGET=receiver.url, KEY="7")
        for _ in range(3):
            assert receiver.posted.acquire(timeout=60)
        program.send(signal.SIGKILL)
        program.popen.wait(60)
        receiver.answers.clear()
        program.read_to_end()
        sandbox.wait_until_recovered()
    sandbox.assert_clean()
    assert places(receiver) == [(0, "Pending"), (1, "Running"), (2, "Crashed")]
    pending, running = (event.transition() for event in receiver.accepted[:2])
    assert running.from_state == pending.to_state
    assert running.follows == pending.id
