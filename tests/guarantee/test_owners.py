"""Several processes, forks, threads and pools: each is an owner, and each is guarded."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.guarantee.stage import PATIENCE_SECONDS, Stage, until


def test_runs_in_several_threads(stage: Stage) -> None:
    """All that one process was executing is finished, whichever thread did."""
    program = stage.python(
        """
        @task(on_crashed=[heard])
        def step(barrier):
            barrier.wait()
            hold()

        @flow(on_crashed=[heard])
        def etl(barrier):
            step(barrier)

        if __name__ == "__main__":
            barrier = threading.Barrier(3)
            threads = [threading.Thread(target=etl, args=[barrier]) for _ in range(2)]
            for one in threads:
                one.start()
            etl(barrier)
        """
    )
    stage.until_told("ready", times=3)
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    assert sorted(stage.told()[3:]) == [["etl", "Crashed", 1]] * 3 + [["step", "Crashed", 1]] * 3
    # Those that began last are finished first.
    assert stage.entered("Crashed")[:3] != ["etl"] * 3
    stage.assert_clean()


def test_a_thread_that_the_end_of_the_process_cuts_off(stage: Stage) -> None:
    """A flow in a daemon thread is not waited for: it ends with the process, as a crash."""
    program = stage.python(
        """
        @flow(on_crashed=[heard])
        def etl(begun):
            begun.set()
            hold()

        if __name__ == "__main__":
            begun = threading.Event()
            threading.Thread(target=etl, args=[begun], daemon=True).start()
            begun.wait()
            while not os.path.exists("told"):
                time.sleep(0.01)
        """
    )
    assert program.end() == 0
    assert stage.told() == [["ready"], ["etl", "Crashed", 1]], program.output
    assert stage.told()[1].pid != program.pid
    stage.assert_clean()


@pytest.mark.parametrize(
    ("use", "state"),
    [
        ("next(items)\n    die()", "Crashed"),
        ("next(items)\n    del items", "Completed"),
        ("next(items)", None),
        ("kept.append(items)\n    next(items)", None),
    ],
)
def test_a_generator_that_is_never_finished(stage: Stage, use: str, state: str | None) -> None:
    """Dropped, it completes; if its process ends first, it crashes; it never just stays."""
    program = stage.python(
        f"""
        kept = []

        @flow(on_completion=[heard], on_crashed=[heard])
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
    (told,) = stage.told()
    assert told in [["etl", one, 1] for one in states], program.output
    assert stage.states() == [("etl", told[1])]
    stage.assert_clean()


def test_all_that_was_running_crashes_from_the_inside_out(stage: Stage) -> None:
    """Nested flows, called and submitted tasks, some of them not begun: children before parents."""
    program = stage.python(
        """
        from eventflow.runners import ThreadPoolTaskRunner

        every = [heard]

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
    stage.until_told("ready", "submitted", times=2)
    stage.until_told("ready", "called")
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    order = ["called", *["submitted"] * 4, "inner", "middle", "above", "outer"]
    assert [name for name, state, _ in stage.told()[3:]] == order, program.output
    assert stage.entered("Crashed") == order
    assert stage.entered("Running").count("submitted") == 2
    stage.assert_clean()


# -- several processes ------------------------------------------------------------------------

FORK = """
@flow(on_running=[heard], on_crashed=[heard], on_completion=[heard])
def etl(name):
    tell("in", name)
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
def test_a_fork(stage: Stage, killed: str, other: str) -> None:
    """Parent and child are owners, each guarded; neither hides the other's end."""
    (stage.folder / "end-first").touch()
    program = stage.python(FORK)
    pids = {name: pid_of(stage, name) for name in ("parent", "child")}
    os.kill(pids[killed], signal.SIGKILL)
    told = stage.until_told(killed, "Crashed", 1)
    assert told[-1].pid not in pids.values()
    assert other not in stage.entered("Completed")
    (stage.folder / f"end-{other}").touch()
    program.end()
    assert stage.told()[-1] == [other, "Completed", 1]
    assert stage.told()[-1].pid == pids[other]
    assert sorted(stage.states()) == sorted(
        [("first", "Completed"), (killed, "Crashed"), (other, "Completed")]
    )
    stage.until_recovered()
    stage.assert_clean()


def pid_of(stage: Stage, name: str) -> int:
    """Wait for the flow of that name to begin; gives the process that executes it."""
    told = stage.until_told("in", name)

    return next(one.pid for one in told if one == ["in", name])


WORKERS = {
    "fork": "multiprocessing.get_context('fork').Process(target=work)",
    "spawn": "multiprocessing.get_context('spawn').Process(target=work)",
}


@pytest.mark.parametrize(
    ("method", "end"), [("fork", "die()"), ("spawn", "die()"), ("fork", "pass")]
)
def test_a_worker_of_multiprocessing(stage: Stage, method: str, end: str) -> None:
    """It is an owner of its own: killed, its run is Crashed; at its end it leaves nothing."""
    program = stage.python(
        f"""
        import multiprocessing

        @task(on_crashed=[heard])
        def step():
            tell("in", __name__)
            {end}

        @flow(on_crashed=[heard], on_completion=[heard])
        def inner():
            step()

        @flow(on_completion=[heard])
        def outer():
            worker = {WORKERS[method]}
            worker.start()
            worker.join()
            tell("worker", worker.exitcode)

        def work():
            inner()

        if __name__ == "__main__":
            outer()
        """
    )
    assert program.end() == 0, program.output
    told = stage.told()
    where = "__mp_main__" if method == "spawn" else "__main__"
    assert told[0] == ["in", where], program.output
    assert ["worker", -signal.SIGKILL if end == "die()" else 0] in told
    crashed = [one for one in told if one[1] == "Crashed"]
    if end == "die()":
        assert crashed == [["step", "Crashed", 1], ["inner", "Crashed", 1]], program.output
        assert crashed[0].pid not in (told[0].pid, program.pid)
    else:
        assert crashed == []
        assert told[1] == ["inner", "Completed", 1]
    assert ["outer", "Completed", 1] in told
    stage.until_recovered()
    stage.assert_clean()


def test_a_pool_of_processes(stage: Stage) -> None:
    """Where one of its workers is killed the flow around it fails, and the worker's run crashed."""
    program = stage.python(
        """
        from concurrent.futures import ProcessPoolExecutor

        @flow(on_completion=[heard], on_crashed=[heard])
        def inner(n):
            if n == 3:
                die()
            return n

        @flow(on_failure=[heard])
        def outer():
            with ProcessPoolExecutor(1) as pool:
                tell(list(pool.map(work, [1, 2])))
                list(pool.map(work, [3]))

        def work(n):
            return inner(n)

        if __name__ == "__main__":
            outer()
        """
    )
    assert program.end() == 1
    assert "BrokenProcessPool" in program.output
    told = stage.told()
    assert told[:3] == [["inner", "Completed", 1], ["inner", "Completed", 1], [[1, 2]]]
    assert sorted(told[3:]) == [["inner", "Crashed", 1], ["outer", "Failed", 1]], program.output
    assert told[0].pid == told[1].pid != program.pid
    stage.until_recovered()
    stage.assert_clean()


# -- the guardian: when it is there, and when not ---------------------------------------------


@pytest.mark.parametrize(
    ("hooks", "env", "count"),
    [
        ("", {}, 0),
        ("on_completion=[heard]", {}, 1),
        ("on_completion=[heard]", {"EVENTFLOW_GUARDIAN": "false"}, 0),
        ("on_completion=[heard]", {"EVENTFLOW_DURABILITY": "off"}, 0),
        ("on_completion=[heard]", {"EVENTFLOW_JOURNAL_URL": "memory://"}, 0),
    ],
)
def test_a_guardian_is_started_where_there_is_something_to_guard(
    stage: Stage, hooks: str, env: dict[str, str], count: int
) -> None:
    """One for all runs of a process with hooks; no process where there are none, or by setting."""
    program = stage.python(
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
            tell(starts)
        """,
        **env,
    )
    assert program.end() == 0
    assert stage.told()[-1] == [["subprocess.Popen"] * count], program.output
    assert program.output == ""


def test_an_import_starts_nothing(stage: Stage) -> None:
    """Neither a guardian nor a folder is there before the first run."""
    program = stage.python(
        """
        @flow(on_completion=[heard])
        def etl(): ...

        tell(threading.active_count(), os.path.exists(os.environ["EVENTFLOW_HOME"]))
        hold()
        """
    )
    stage.until_told("ready")
    assert list(stage.processes()) == [program.pid]
    assert stage.told()[0] == [1, False]
    program.send(signal.SIGKILL)
    program.end()
    assert stage.told()[1:] == [["ready"]]


def test_after_a_clean_end_the_guardian_is_gone_within_a_second(stage: Stage) -> None:
    """However Python itself comes to its end, and without a word."""
    ends = ["pass", "raise SystemExit(3)", "raise ValueError"]
    # Each has a second; that this machine is busy with something else may happen once.
    assert min(seconds_of_the_guardian(stage, end) for end in ends) < 1
    stage.assert_clean()


def seconds_of_the_guardian(stage: Stage, end: str) -> float:
    """Give how long the guardian is there after the end of its owner."""
    program = stage.python(
        f"""
        @flow(on_completion=[heard])
        def etl(): ...

        if __name__ == "__main__":
            etl()
            sys.stdin.readline()
            {end}
        """
    )
    guardian = stage.guardian()
    assert program.popen.stdin is not None
    program.popen.stdin.write("go on\n")
    program.popen.stdin.flush()
    program.popen.wait(PATIENCE_SECONDS)
    ended = time.monotonic()
    until(lambda: has_ended(guardian), stage.processes)
    seconds = time.monotonic() - ended
    program.end()
    assert "recover" not in program.output

    return seconds


def has_ended(pid: int) -> bool:
    """Whether a process is over; that init has not taken notice yet is none of its doing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
