"""A hook that must happen exactly once: it writes in the journal's own transaction."""

import sqlite3

from eventflow import Flow, FlowRun, Hook, flow, runtime
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from eventflow.states import AnyState

attempts: list[int] = []


def book(flow: Flow[..., int], flow_run: FlowRun, state: AnyState) -> None:
    """Insert a row, and fail after it on the first attempt."""
    attempts.append(runtime.hook.attempt)
    with runtime.hook.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bookings (run TEXT, attempt INT)")
        connection.execute(
            "INSERT INTO bookings VALUES (?, ?)", (str(flow_run.id), runtime.hook.attempt)
        )
        if runtime.hook.attempt == 1:
            raise ConnectionError("lost in the middle")  # what was written is taken back


@flow(hooks=[Hook(book, state="Completed", retries=2)])
def pay(amount: int) -> int:
    """Take the money."""
    return amount


if __name__ == "__main__":
    pay(7)
    assert attempts == [1, 2]
    file = EVENTFLOW_JOURNAL_URL.value().removeprefix("sqlite:///")
    [(count,)] = sqlite3.connect(file).execute("SELECT count(*) FROM bookings")
    assert count == 1
    print(f"{len(attempts)} attempts, {count} booking")
