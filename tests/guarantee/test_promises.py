"""Each line of the guarantee in the README has the tests that show it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SHOWN_BY: dict[str, list[str]] = {
    "an exception, a timeout, a cancellation": [
        "engine/test_lifecycle.py::test_hooks_run_outside_of_the_timeout",
        "engine/test_lifecycle_stops.py::test_an_interrupt_in_a_hook",
        "engine/test_hostile_errors.py::test_a_run_fails_whatever_its_exception_does",
    ],
    "Ctrl-C, SIGTERM, `sys.exit`": [
        "guarantee/test_deaths.py::test_a_process_that_is_asked_to_end",
    ],
    "SIGTERM or Ctrl-C, where the program has a handler of its own": [
        "interrupts/test_signals.py::test_handlers_of_the_program_are_not_replaced",
        "interrupts/test_handlers.py::test_a_handler_of_the_program_that_exits_crashes_the_run",
    ],
    "a second Ctrl-C, `kill -9`, SIGHUP, an out-of-memory kill, a segfault, `os._exit`": [
        "guarantee/test_deaths.py::test_a_process_that_ends_itself",
        "guarantee/test_deaths.py::test_a_process_group_that_is_ended",
        "guarantee/test_deaths.py::test_a_second_signal_during_a_slow_hook",
        "guarantee/test_deaths.py::test_a_process_that_is_killed_for_its_memory",
    ],
    "process and guardian are killed, or the machine is rebooted": [
        "guarantee/test_deaths.py::test_owner_and_guardian_killed_together",
        "guarantee/test_recovery.py::test_the_machine_was_rebooted",
    ],
    "the guardian is killed": [
        "guarantee/test_deaths.py::test_a_guardian_that_was_killed_alone_is_replaced",
    ],
    "a whole machine is gone (journal in PostgreSQL)": [
        "owners/test_session_leases.py::test_an_owner_of_another_host_is_taken_over",
    ],
    'a worker is killed, or its machine is gone, in a hook of `Hook(where="worker")`': [
        "guarantee/test_workers.py::test_a_worker_is_killed",
        "guarantee/test_worker_hosts.py::test_the_host_that_is_left_does_it_all",
    ],
    "power is lost": [
        "guarantee/test_recovery.py::test_a_torn_record",
        "guarantee/test_recovery.py::test_a_segment_that_ends_in_garbage",
    ],
    "a hook kills its process, each time": [
        "guarantee/test_deaths.py::test_a_hook_that_kills_its_process_every_time",
    ],
    "a hook cannot be had: its file is gone, renamed, or fails to be imported": [
        "recovery/test_lookup.py::test_a_hook_that_cannot_be_had_is_a_dead_delivery",
    ],
    "a hook hangs in a recovery": [
        "hooks/test_redelivery.py::test_a_hook_without_a_timeout_has_the_limit_of_a_recovery",
        "recovery/test_supervisor.py::test_no_owner_waits_behind_the_hook_of_another",
    ],
    "the journal cannot be written: the disk is full, the server is away": [
        "outages/test_full_disk.py::test_a_full_disk_fails_no_run",
        "outages/test_postgres.py::test_runs_go_on_while_the_server_is_killed_and_started_again",
    ],
    "the process is killed while the journal cannot be written": [
        "outages/test_postgres.py::test_a_process_killed_while_the_server_is_away_loses_nothing",
        "outages/test_full_disk.py::test_a_segment_can_be_filled_on_a_full_disk",
    ],
    "a run was taken over by another process, or a process was forked": [
        "hooks/test_given_up.py::test_only_the_runs_that_another_owner_has_are_given_up",
        "hooks/test_given_up.py::test_child_runs_no_hook_of_its_parents_run",
    ],
}
"""By the first cell of a line, the tests that show it."""


def lines() -> list[str]:
    """Return what happens, by the table in the README."""
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("| what happens |")[2].partition("\n\n")[0]

    return [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]


def test_every_line_of_the_guarantee_has_tests() -> None:
    """And no tests are named for a line that is gone."""
    assert lines() == list(SHOWN_BY)


@pytest.mark.parametrize("name", [name for names in SHOWN_BY.values() for name in names])
def test_the_tests_of_a_line_are_there(name: str) -> None:
    """In its file, under its name."""
    file, _, function = name.partition("::")
    assert re.search(rf"^def {function}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)
