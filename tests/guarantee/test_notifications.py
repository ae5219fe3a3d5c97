"""Notifications are sent however their process ends, and wherever they were declared."""

from __future__ import annotations

import signal

import pytest

from tests.guarantee.sandbox import Program, Sandbox
from tests.notifications.conftest import TOKEN, Receiver, serving

# In no function that another process could import: what it is made of is recorded.
WORK = """
    from eventflow import notify
    {head}
    def work():
        @flow(name="etl", {kind}=[notify({arguments})])
        def etl():
            {body}

        etl()

    if __name__ == "__main__":
        work()
"""


def start(
    sandbox: Sandbox,
    receiver: Receiver,
    arguments: str = "os.environ['TARGET']",
    *,
    kind: str = "on_crashed",
    head: str = "",
    body: str = "hold()",
) -> Program:
    """Start a program with a flow that notifies."""
    source = WORK.format(arguments=arguments, kind=kind, head=head, body=body)

    return sandbox.python(source, TARGET=receiver.url)


def assert_crash_is_told(receiver: Receiver) -> None:
    (post,) = receiver.posts
    assert post["title"].startswith("Flow etl/")
    assert post["title"].endswith(": Crashed")
    assert "vanished" in post["message"]
    assert post["type"] == "failure"


@pytest.mark.parametrize(
    ("arguments", "head"),
    [
        ("os.environ['TARGET']", ""),
        ("'env:TARGET', when={'state': ['Crashed'], 'name': 'e*'}", ""),
        ("'env:TARGET', template=told", "told = '{title}: vanished'"),
        # By value: the guardian has it.
        ("'env:TARGET', template=lambda told: f'{told.definition.name} vanished'", ""),
    ],
)
def test_the_guardian_sends_them(sandbox: Sandbox, arguments: str, head: str) -> None:
    """Of a killed process; a URL is not in clear where it is recorded for that."""
    with serving() as receiver:
        program = start(sandbox, receiver, arguments, head=head)
        sandbox.wait_for_record("ready")
        program.send(signal.SIGKILL)
        assert TOKEN not in program.read_to_end()
        sandbox.wait_until_recovered()
        assert_crash_is_told(receiver)
    sandbox.assert_clean()
    files = [path for path in sandbox.home.rglob("*") if path.is_file()]
    assert TOKEN.encode() not in b"".join(path.read_bytes() for path in files)


def test_a_recovery_sends_them_after_a_reboot(sandbox: Sandbox) -> None:
    """When the guardian is gone too: a function defined there would be lost by now."""
    with serving() as receiver:
        program = start(sandbox, receiver)
        sandbox.wait_for_record("ready")
        sandbox.kill_with_guardian(program)
        assert [report["delivered"] for report in sandbox.recover()] == [1]
        assert_crash_is_told(receiver)
    sandbox.assert_clean()


def test_what_was_being_sent_is_sent_again(sandbox: Sandbox) -> None:
    """It is alike, and within its time: but nobody knows whether it has arrived."""
    with serving() as receiver:
        receiver.hangs = True
        arguments = "'env:TARGET', group_seconds=600"
        program = start(sandbox, receiver, arguments, kind="on_completion", body="pass")
        assert receiver.posted.acquire(timeout=60)
        receiver.hangs = False
        program.send(signal.SIGKILL)
        program.read_to_end()
        sandbox.wait_until_recovered()
        first, second = receiver.posts
        # The second one has a line of the log more: the recovery tells what it could not load.
        assert second.pop("message").startswith(first.pop("message"))
        assert first == second
    sandbox.assert_clean()


@pytest.mark.parametrize(
    ("lost", "reason"),
    [("secret.key", "cannot be decrypted"), ("TARGET", "TARGET is not set")],
)
def test_what_cannot_be_had_again_is_a_dead_delivery(
    sandbox: Sandbox, lost: str, reason: str
) -> None:
    """The reason is told in the journal, and by the command that checks it."""
    with serving() as receiver:
        by_variable = lost == "TARGET"
        program = start(
            sandbox, receiver, "'env:TARGET'" if by_variable else "os.environ['TARGET']"
        )
        sandbox.wait_for_record("ready")
        sandbox.kill_with_guardian(program)
        if not by_variable:
            (sandbox.home / lost).write_text("x" * 43 + "=")
        assert sandbox.start("-m", "eventflow.cli", "recover").end() == 1
        assert receiver.posts == []
    label = "TARGET" if by_variable else "json"
    sandbox.assert_clean(dead=[f"notify({label})"])
    assert reason in sandbox.eventflow("verify")


def test_the_end_of_a_process_tells_how_many_there_were(sandbox: Sandbox) -> None:
    """By which it ends; what is held back by the next process waits for its time."""
    source = """
        from eventflow import notify

        @task(on_failure=[notify("env:TARGET", group_seconds=600)])
        def work(n):
            raise ValueError("bad row")

        @flow
        def etl():
            work.map(range(5)).wait()

        if __name__ == "__main__":
            etl()
    """
    with serving() as receiver:
        for _ in range(2):
            program = sandbox.python(source, TARGET=receiver.url)
            assert program.end() == 0, program.output
        first, summary = receiver.posts
        assert first["message"].startswith("ValueError: bad row")
        assert summary["message"].startswith("4 like it in ")
