"""A trace has what the Trace Event Format asks for: slices of a thread nest, all has a name.

See https://perfetto.dev/docs/getting-started/other-formats: `X` events are slices, which must nest
within a thread, and `M` events name processes and threads. Times are microseconds.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from eventflow.dashboard.export.perfetto import trace_json, trace_of
from eventflow.journal.rows import StoredRun
from tests.dashboard.stored import HOSTILE, ROOT, a_root, a_run, a_timeline, trees


def events(*runs: StoredRun, phase: str = "X", now: float = 60) -> list[dict[str, Any]]:
    trace = trace_of(a_timeline(*runs, now=now))

    return [event for event in trace["traceEvents"] if event["ph"] == phase]


@settings(max_examples=30)
@given(trees())
def test_the_slices_of_a_thread_nest(runs: list[StoredRun]) -> None:
    threads: dict[int, list[tuple[int, int]]] = {}
    for event in events(*runs):
        assert isinstance(event["ts"], int)
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        threads.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))

    for slices in threads.values():
        around: list[tuple[int, int]] = []
        for begin, end in sorted(slices, key=lambda each: (each[0], -each[1])):
            while around and around[-1][1] <= begin:
                around.pop()
            assert not around or end <= around[-1][1]
            around.append((begin, end))


METADATA = {
    "process_name": ("name", str),
    "thread_name": ("name", str),
    "process_sort_index": ("sort_index", int),
    "thread_sort_index": ("sort_index", int),
}
"""The metadata events of the format, each with its argument."""


@settings(max_examples=30)
@given(trees())
def test_it_keeps_the_rules_of_the_format(runs: list[StoredRun]) -> None:
    """Those of complete and of metadata events, as a strict reader of the JSON checks them."""
    trace = json.loads(trace_json(a_timeline(*runs)), parse_constant=pytest.fail)
    assert trace.keys() == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in {"ms", "ns"}
    named: dict[str, set[tuple[int, ...]]] = {name: set() for name in METADATA}
    used: set[tuple[int, int]] = set()
    for event in trace["traceEvents"]:
        assert all(type(event[key]) is int and event[key] > 0 for key in ("pid", "tid"))
        assert type(event["name"]) is str
        assert event["name"]
        if event["ph"] == "M":
            assert event.keys() == {"ph", "name", "pid", "tid", "args"}
            ((argument, value),) = event["args"].items()
            assert (argument, type(value)) == METADATA[event["name"]]
            named[event["name"]].add((event["pid"], event["tid"]))
        else:
            assert event["ph"] == "X"
            assert event.keys() == {"ph", "name", "cat", "ts", "dur", "pid", "tid", "args"}
            assert type(event["cat"]) is str
            assert type(event["args"]) is dict
            used.add((event["pid"], event["tid"]))

    # Each thread has a name and a place, and so has each process, whose first thread has its id.
    assert named["thread_name"] == named["thread_sort_index"] == used
    processes = {(pid, pid) for pid, _ in used}
    assert named["process_name"] == named["process_sort_index"] == processes
    assert processes <= used


@settings(max_examples=30)
@given(trees())
def test_every_run_is_a_slice_in_its_flow_run(runs: list[StoredRun]) -> None:
    """Each flow run is a process, with its name; no thread is in two of them."""
    slices = [event for event in events(*runs) if event["cat"] != "state"]
    named = {event["pid"] for event in events(*runs, phase="M") if event["name"] == "process_name"}
    threads = {(event["pid"], event["tid"]) for event in events(*runs)}

    assert len(slices) == len(runs)
    assert {event["pid"] for event in slices} == named
    assert len(named) == sum(run.run_type == "flow" for run in runs)
    assert len({thread for _, thread in threads}) == len(threads)


def test_a_task_is_in_the_process_of_the_flow_around_it() -> None:
    """Also one that a task called; runs at the same time are in lanes of their own."""
    sub = a_run(parent=ROOT, run_type="flow", definition="sub", name="sub-1")
    task = a_run(parent=sub.id, definition="task")
    inner = a_run(parent=task.id, definition="inner")
    found = {event["name"].partition("-")[0]: event for event in events(sub, task, inner)}

    assert found["etl/brave"]["pid"] == 1
    assert found["task"]["pid"] == found["inner"]["pid"] == found["sub"]["pid"] == 2
    assert len({found[name]["tid"] for name in ("sub", "task", "inner")}) == 3


def test_a_state_is_a_slice_within_its_run() -> None:
    retried = a_run(
        'P0R10\n["SAwaitingRetry", 20]\n["RRetrying", 40]', parent=ROOT, state="RRetrying"
    )
    found = [
        (event["name"], event["ts"], event["dur"])
        for event in events(a_root(), retried, now=1)
        if event["cat"] == "state"
    ]

    assert found[1:] == [
        ("Pending", 0, 10),
        ("Running, attempt 1", 10, 10),
        ("AwaitingRetry", 20, 20),
        ("Retrying, attempt 2", 40, 999_960),
    ]


def test_it_tells_the_cause_and_is_json_whatever_the_names_hold() -> None:
    message = json.dumps(["F", 9, None, "no such table" * 1_000])
    run = a_run(f"P0\n{message}", state="F", ended=1, parent=ROOT, name=HOSTILE)
    trace = json.loads(trace_json(a_timeline(a_root(), run)))

    assert trace["displayTimeUnit"] == "ms"
    assert trace["otherData"]["run"] == "etl/brave-otter"
    assert trace["otherData"]["began"] == "2026-03-01T12:00:00+00:00"
    facts = trace["traceEvents"][-2]["args"]
    assert facts["cause"].startswith("no such table")
    assert len(facts["cause"]) == 1_000


def test_a_task_run_is_a_process_of_its_own_if_it_is_the_root() -> None:
    (found,) = [event for event in events(a_root(run_type="task")) if event["cat"] != "state"]

    assert (found["pid"], found["cat"]) == (1, "task")
