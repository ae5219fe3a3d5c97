"""Several processes, forks, threads and pools: each is an owner, and each is guarded."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.guarantee.sandbox import TIMEOUT_SECONDS, Sandbox, wait_until


def test_runs_in_several_threads(sandbox: Sandbox) -> None:
    """The runs of all threads of the process are recovered."""
    program = sandbox.python(
        """
        @task(on_crashed=[record_state])
        def step(barrier):
            barrier.wait()
            hold()

        @flow(on_crashed=[record_state])
        def etl(barrier):
            step(barrier)

        if __name__ == "__main__":
            barrier = threading.Barrier(3)
            threads = [threading.Thread(target=etl, args=[barrier]) for _ in range(2)]
            for thread in threads:
                thread.start()
            etl(barrier)
        """
    )
    sandbox.wait_for_record("ready", times=3)
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    assert (
        sorted(sandbox.records()[3:]) == [["etl", "Crashed", 1]] * 3 + [["step", "Crashed", 1]] * 3
    )
    # Children before parents.
    assert sandbox.entered("Crashed")[:3] != ["etl"] * 3
    sandbox.assert_clean()


def test_a_daemon_thread(sandbox: Sandbox) -> None:
    """Its flow ends with the process, as Crashed."""
    program = sandbox.python(
        """
        @flow(on_crashed=[record_state])
        def etl(begun):
            begun.set()
            hold()

        if __name__ == "__main__":
            begun = threading.Event()
            threading.Thread(target=etl, args=[begun], daemon=True).start()
            begun.wait()
            while not os.path.exists("records"):
                time.sleep(0.01)
        """
    )
    assert program.end() == 0
    assert sandbox.records() == [["ready"], ["etl", "Crashed", 1]], program.output
    assert sandbox.records()[1].pid != program.pid
    sandbox.assert_clean()


@pytest.mark.parametrize(
    ("use", "state"),
    [
        ("next(items)\n    die()", "Crashed"),
        ("next(items)\n    del items", "Completed"),
        ("next(items)", None),
        ("kept_alive.append(items)\n    next(items)", None),
    ],
)
def test_a_generator_that_is_never_finished(sandbox: Sandbox, use: str, state: str | None) -> None:
    """It is Completed once it is dropped, or Crashed if its process ends before that."""
    program = sandbox.python(
        f"""
        kept_alive = []

        @flow(on_completion=[record_state], on_crashed=[record_state])
        def etl():
            yield 1
            yield 2

        if __name__ == "__main__":
            items = etl()
            {use.replace(chr(10), chr(10) + " " * 8)}
        """
    )
    program.end()
    states = [state] if state else ["Completed", "Crashed"]
    (record,) = sandbox.records()
    assert record in [["etl", name, 1] for name in states], program.output
    assert sandbox.states() == [("etl", record[1])]
    sandbox.assert_clean()


def test_children_crash_before_their_parents(sandbox: Sandbox) -> None:
    """Nested flows, called tasks, and submitted tasks that were running or not begun yet."""
    program = sandbox.python(
        """
        from eventflow.runners import ThreadPoolTaskRunner

        every = [record_state]

        @task(on_crashed=every)
        def called():
            hold("called")

        @task(on_crashed=every)
        def submitted():
            hold("submitted")

        @flow(on_crashed=every, task_runner=ThreadPoolTaskRunner(max_workers=2))
        def inner():
            futures = [submitted.submit() for _ in range(4)]
            called()

        @flow(on_crashed=every)
        def middle():
            inner()

        @task(on_crashed=every)
        def above():
            middle()

        @flow(on_crashed=every)
        def outer():
            above()

        if __name__ == "__main__":
            outer()
        """
    )
    sandbox.wait_for_record("ready", "submitted", times=2)
    sandbox.wait_for_record("ready", "called")
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    order = ["called", *["submitted"] * 4, "inner", "middle", "above", "outer"]
    assert [name for name, state, _ in sandbox.records()[3:]] == order, program.output
    assert sandbox.entered("Crashed") == order
    assert sandbox.entered("Running").count("submitted") == 2
    sandbox.assert_clean()


# -- several processes ------------------------------------------------------------------------

FORK = """
@flow(on_running=[record_state], on_crashed=[record_state], on_completion=[record_state])
def etl(name):
    record("in", name)
    while not os.path.exists(f"end-{name}"):
        time.sleep(0.01)

if __name__ == "__main__":
    etl.with_options(name="first")("first")
    if os.fork():
        etl.with_options(name="parent")("parent")
        os.wait()
    else:
        etl.with_options(name="child")("child")
"""


@pytest.mark.parametrize(("killed", "other"), [("child", "parent"), ("parent", "child")])
def test_a_fork(sandbox: Sandbox, killed: str, other: str) -> None:
    """Parent and child are owners, each with a guardian that notices the end of its own."""
    (sandbox.folder / "end-first").touch()
    program = sandbox.python(FORK)
    pids = {name: pid_of(sandbox, name) for name in ("parent", "child")}
    os.kill(pids[killed], signal.SIGKILL)
    records = sandbox.wait_for_record(killed, "Crashed", 1)
    assert records[-1].pid not in pids.values()
    assert other not in sandbox.entered("Completed")
    (sandbox.folder / f"end-{other}").touch()
    program.end()
    assert sandbox.records()[-1] == [other, "Completed", 1]
    assert sandbox.records()[-1].pid == pids[other]
    assert sorted(sandbox.states()) == sorted(
        [("first", "Completed"), (killed, "Crashed"), (other, "Completed")]
    )
    sandbox.wait_until_recovered()
    sandbox.assert_clean()


def pid_of(sandbox: Sandbox, name: str) -> int:
    """Wait for the flow of that name to begin, and return the id of its process."""
    records = sandbox.wait_for_record("in", name)

    return next(record.pid for record in records if record == ["in", name])


WORKERS = {
    "fork": "multiprocessing.get_context('fork').Process(target=work)",
    "spawn": "multiprocessing.get_context('spawn').Process(target=work)",
}


@pytest.mark.parametrize(
    ("method", "end"), [("fork", "die()"), ("spawn", "die()"), ("fork", "pass")]
)
def test_a_worker_of_multiprocessing(sandbox: Sandbox, method: str, end: str) -> None:
    """It is an owner of its own, whether it is killed or ends."""
    program = sandbox.python(
        f"""
        import multiprocessing

        @task(on_crashed=[record_state])
        def step():
            record("in", __name__)
            {end}

        @flow(on_crashed=[record_state], on_completion=[record_state])
        def inner():
            step()

        @flow(on_completion=[record_state])
        def outer():
            worker = {WORKERS[method]}
            worker.start()
            worker.join()
            record("worker", worker.exitcode)

        def work():
            inner()

        if __name__ == "__main__":
            outer()
        """
    )
    assert program.end() == 0, program.output
    records = sandbox.records()
    module = "__mp_main__" if method == "spawn" else "__main__"
    assert records[0] == ["in", module], program.output
    assert ["worker", -signal.SIGKILL if end == "die()" else 0] in records
    crashed = [record for record in records if record[1] == "Crashed"]
    if end == "die()":
        assert crashed == [["step", "Crashed", 1], ["inner", "Crashed", 1]], program.output
        assert crashed[0].pid not in (records[0].pid, program.pid)
    else:
        assert crashed == []
        assert records[1] == ["inner", "Completed", 1]
    assert ["outer", "Completed", 1] in records
    sandbox.wait_until_recovered()
    sandbox.assert_clean()


def test_a_pool_of_processes(sandbox: Sandbox) -> None:
    """If a worker is killed, its run is Crashed, and the flow that uses the pool is Failed."""
    program = sandbox.python(
        """
        from concurrent.futures import ProcessPoolExecutor

        @flow(on_completion=[record_state], on_crashed=[record_state])
        def inner(n):
            if n == 3:
                die()
            return n

        @flow(on_failure=[record_state])
        def outer():
            with ProcessPoolExecutor(1) as pool:
                record(list(pool.map(work, [1, 2])))
                list(pool.map(work, [3]))

        def work(n):
            return inner(n)

        if __name__ == "__main__":
            outer()
        """
    )
    assert program.end() == 1
    assert "BrokenProcessPool" in program.output
    records = sandbox.records()
    assert records[:3] == [["inner", "Completed", 1], ["inner", "Completed", 1], [[1, 2]]]
    assert sorted(records[3:]) == [["inner", "Crashed", 1], ["outer", "Failed", 1]], program.output
    assert records[0].pid == records[1].pid != program.pid
    sandbox.wait_until_recovered()
    sandbox.assert_clean()


# -- the life of a guardian -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hooks", "env", "count"),
    [
        ("", {}, 0),
        ("on_completion=[record_state]", {}, 1),
        ("on_completion=[record_state]", {"EVENTFLOW_GUARDIAN": "false"}, 0),
        ("on_completion=[record_state]", {"EVENTFLOW_DURABILITY": "off"}, 0),
        ("on_completion=[record_state]", {"EVENTFLOW_JOURNAL_URL": "memory://"}, 0),
    ],
)
def test_a_guardian_is_started_for_hooks_only(
    sandbox: Sandbox, hooks: str, env: dict[str, str], count: int
) -> None:
    """One for all runs of a process; none without hooks, or if a setting says so."""
    program = sandbox.python(
        f"""
        starts = []
        starting = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.system")
        sys.addaudithook(lambda event, _: starts.append(event) if event in starting else None)

        @task({hooks})
        def step(): ...

        @flow({hooks})
        def etl():
            [step() for _ in range(3)]

        if __name__ == "__main__":
            etl()
            etl()
            record(starts)
        """,
        **env,
        EVENTFLOW_LOG_LEVEL="WARNING",
    )
    assert program.end() == 0
    assert sandbox.records()[-1] == [["subprocess.Popen"] * count], program.output
    assert program.output == ""


def test_an_import_starts_nothing(sandbox: Sandbox) -> None:
    """There is no guardian and no folder before the first run."""
    program = sandbox.python(
        """
        @flow(on_completion=[record_state])
        def etl(): ...

        record(threading.active_count(), os.path.exists(os.environ["EVENTFLOW_HOME"]))
        hold()
        """
    )
    sandbox.wait_for_record("ready")
    assert list(sandbox.processes()) == [program.pid]
    assert sandbox.records()[0] == [1, False]
    program.send(signal.SIGKILL)
    program.end()
    assert sandbox.records()[1:] == [["ready"]]


def test_the_guardian_ends_within_a_second_of_a_clean_end(sandbox: Sandbox) -> None:
    """Whichever way Python ends, and without output."""
    ends = ["pass", "raise SystemExit(3)", "raise ValueError"]
    # The best of three, because the machine may be busy.
    assert min(seconds_of_the_guardian(sandbox, end) for end in ends) < 1
    sandbox.assert_clean()


def seconds_of_the_guardian(sandbox: Sandbox, end: str) -> float:
    """Return how long the guardian outlives its owner."""
    program = sandbox.python(
        f"""
        @flow(on_completion=[record_state])
        def etl(): ...

        if __name__ == "__main__":
            etl()
            sys.stdin.readline()
            {end}
        """
    )
    guardian = sandbox.guardian()
    assert program.popen.stdin is not None
    program.popen.stdin.write("go on\n")
    program.popen.stdin.flush()
    program.popen.wait(TIMEOUT_SECONDS)
    ended = time.monotonic()
    wait_until(lambda: has_ended(guardian), sandbox.processes)
    seconds = time.monotonic() - ended
    program.end()
    assert "recover" not in program.output

    return seconds


def has_ended(pid: int) -> bool:
    """Whether a process has ended, also if it is a zombie that init has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
