"""Flows: states instead of results, waiting, tags, prints, and runs in a forked process."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

from eventflow import flow, tags, task, wait
from eventflow.errors import UnfinishedRun
from eventflow.events import Event, StateTransition
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.states import Completed, Failed

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_the_default_name_has_hyphens() -> None:
    """A flow is named after its function, with `-` for `_`; a name that is given stays."""

    @flow
    def load_all_orders() -> None: ...

    @task
    def load_order() -> None: ...

    assert load_all_orders.name == "load-all-orders"
    assert load_all_orders.with_options(name="load_all").name == "load_all"
    assert load_all_orders.with_options(name="load_all").with_options(name=None).name == (
        "load-all-orders"
    )
    assert flow(name="load_all")(load_all_orders.fn).name == "load_all"
    assert flow(lambda: None).name == "unknown-lambda"
    assert load_order.name == "load_order"


def test_runs_are_named_by_default(eventflow_events: list[Event]) -> None:
    """A flow run by two words, a task run by its task, whether it is called or submitted."""

    @task
    def load_order(number: int) -> int:
        return number

    @task
    async def aload_order(number: int) -> int:
        return number

    @flow
    def load_all_orders() -> None:
        load_order(1)
        wait([*load_order.map([2, 3]), aload_order.submit(4)])

    load_all_orders()
    events = [event for event in eventflow_events if isinstance(event, StateTransition)]
    names = {event.run_id: event.run_name for event in events}
    tasks = {event.run_id: event.definition_name for event in events if event.run_type == "task"}

    assert len(tasks) == 4
    for run_id, task_name in tasks.items():
        assert names.pop(run_id) == f"{task_name}-{run_id.hex[-3:]}"
    (words,) = names.values()
    assert re.fullmatch("[a-z]+-[a-z]+", words)


def test_return_state() -> None:
    """A call can give the state instead of the result, and then raises nothing."""

    @flow
    def main(fails: bool) -> int:
        if fails:
            raise ValueError
        return 3

    assert main(fails=False, return_state=True).result() == 3
    assert main(fails=True, return_state=True).is_failed()

    @flow
    async def amain() -> int:
        return 3

    assert asyncio.run(amain(return_state=True)).result() == 3


def test_wait_for() -> None:
    """A flow waits for the futures and states in `wait_for`."""
    order: list[str] = []

    @task
    def first() -> None:
        order.append("first")

    @flow
    def second() -> None:
        order.append("second")

    @flow
    async def asecond() -> None:
        order.append("second")

    @flow
    def main() -> None:
        second(wait_for=[first.submit()])
        second(wait_for=Completed())
        with pytest.raises(UnfinishedRun):
            second(wait_for=[Completed(), [Failed()]])

    @flow
    async def amain() -> None:
        await asecond(wait_for=[first.submit()])

    main()
    assert order == ["first", "second", "second"]
    order.clear()
    asyncio.run(amain())
    assert order == ["first", "second"]


def test_tags(eventflow_events: list[Event]) -> None:
    """Runs carry the tags of their definition and of every block around the call."""

    @task(tags=["t"])
    def inner() -> None:
        pass

    @flow(tags="flow")
    def main() -> None:
        inner()
        with tags("more") as every:
            assert every == {"outer", "more"}
            inner.submit().wait()

    with tags("outer"):
        main()
    tagged = {
        (event.definition_name, event.tags)
        for event in eventflow_events
        if isinstance(event, StateTransition)
    }
    assert tagged == {
        ("main", frozenset({"flow", "outer"})),
        ("inner", frozenset({"t", "outer"})),
        ("inner", frozenset({"t", "outer", "more"})),
    }


def printed(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged, without the start and the end of the runs."""
    return [record.message for record in caplog.records if record.name != "eventflow.runs"]


def test_prints_are_inherited(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tasks and flows within a flow do as it does, unless they say otherwise."""
    caplog.set_level("INFO", "eventflow")

    @task
    def inherits() -> None:
        print("task")

    @task
    async def ainherits() -> None:
        print("async task")

    @task(log_prints=False)
    def refuses() -> None:
        print("refused")

    def hook(definition: Any, run: Any, state: Any) -> None:
        print("hook")

    @flow(log_prints=True, on_completion=[hook])
    def main() -> None:
        print("flow")
        print("to stderr", file=sys.stderr)
        inherits()
        inherits.submit().wait()
        ainherits.submit().wait()
        refuses()
        thread = threading.Thread(target=print, args=("thread",))
        thread.start()
        thread.join()

    main()
    print("outside")
    assert printed(caplog) == ["flow", "task", "task", "async task"]
    captured = capsys.readouterr()
    assert captured.out == "refused\nthread\nhook\noutside\n"
    assert captured.err == "to stderr\n"


def test_prints_of_many_at_once(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flows that run at once do not disturb each other, in threads and in tasks of one loop."""
    caplog.set_level("INFO", "eventflow")
    meet = threading.Barrier(2)

    def body(text: str) -> None:
        meet.wait(10)
        print(text)
        meet.wait(10)

    loud, quiet = flow(log_prints=True)(body), flow(body)
    import contextvars

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=given)
        for given in ((loud, "logged"), (quiet, "printed"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    async def abody(text: str) -> None:
        await asyncio.sleep(0)
        print(text)

    async def main() -> None:
        await asyncio.gather(
            flow(log_prints=True)(abody)("logged"), flow(abody)("printed"), abody("printed")
        )

    asyncio.run(main())
    assert printed(caplog) == ["logged", "logged"]
    assert capsys.readouterr().out == "printed\n" * 3


def run_alone(script: str, level: str = "WARNING") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        env={**os.environ, "EVENTFLOW_LOG_LEVEL": level},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_print_is_left_alone_until_a_run_wants_it() -> None:
    """Neither the import nor a run without log_prints touches `print`."""
    done = run_alone("""
        import builtins
        before = builtins.print
        from eventflow import flow
        flow(lambda: None)()
        assert builtins.print is before
        flow(log_prints=True)(lambda: None)()
        assert builtins.print is not before
        flow(log_prints=True)(lambda: None)()
        print("still", "prints", sep=", ", end="!")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "still, prints!", "")


def test_a_handler_that_prints() -> None:
    """A log handler that prints itself does not go round in circles."""
    done = run_alone(
        """
        import logging
        from eventflow import flow

        class Printing(logging.Handler):
            def emit(self, record):
                print("handled", record.getMessage())

        logging.basicConfig(level="INFO", handlers=[Printing()])
        logging.getLogger("eventflow.runs").setLevel("WARNING")

        @flow(log_prints=True)
        def main():
            print("logged")
            print()

        main()
    """,
        "INFO",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "handled logged\nhandled \n", "")


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="the platform has no fork")
def test_a_forked_process_runs_flows() -> None:
    """After a fork, outside of a flow and within one, the child runs flows of every kind."""
    done = run_alone("""
        import asyncio, os, threading
        from eventflow import bus, flow, runtime, task

        @task
        def add(number): return number + 1

        @task
        async def aadd(number): return number + 1

        async def hook(flow, run, state): seen.append(state.name)

        seen = []

        @flow(timeout_seconds=30, on_completion=[hook])
        def main():
            return sum(add.map(range(5)).result()) + aadd.submit(1).result() + add(1)

        @flow(retries=1)
        async def amain():
            return sum(await aadd.map(range(5))) + await add.submit(1)

        @bus.subscribe
        async def listener(event): pass

        def everything():
            return main() == 19 and asyncio.run(amain()) == 17

        def child(work):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    code = 0 if work() else 2
                finally:
                    os._exit(code)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        assert everything()
        assert child(everything) == 0

        @flow
        def around():
            assert add.submit(1).result() == 2
            outer = runtime.flow_run.id

            @flow
            def inner():
                assert runtime.flow_run.parent_flow_run_id == outer
                return everything()

            return child(inner)

        assert around() == 0
        # While other threads are at work, and may hold any lock.
        stop = threading.Event()
        unbounded = main.with_options(timeout_seconds=None)
        def busy():
            while not stop.is_set():
                unbounded()
        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads: thread.start()
        codes = [child(everything) for _ in range(5)]
        stop.set()
        for thread in threads: thread.join()
        assert codes == [0] * 5, codes
    """)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="the platform has no fork")
@pytest.mark.parametrize(
    "lock",
    [
        "scopes._lock",
        "masks.this_thread.mask._lock",
        "result_cache.results()._lock",
        "logs._lock",
        "subscriptions._lock",
        "bus._router._lock",
        "wiring._lock",
        "flow_portal._lock",
        "runners.threads.default._lock",
        "locks._mutex",
        "wiring.recorder().sink.turns.lock",
        "wiring.recorder().sink._store._lock",
        "wiring.recorder().sink.writer.lock",
        "wiring.recorder().sink.writer._commit_lock",
    ],
)
def test_a_forked_process_waits_for_no_thread_of_its_parent(lock: str) -> None:
    """Whoever holds a lock while the process is forked is not there in the child to let it go."""
    done = run_alone(f"""
        import os, signal, threading
        from eventflow import EventBus, bus, flow, logs, runners, task, use_bus, wiring
        from eventflow.runs import result_cache
        from eventflow.eventbus import subscriptions
        from eventflow.interrupts import masks, scopes
        from eventflow.owners import locks
        from eventflow.interrupts.portals import background_portal as flow_portal

        @task(cache_key_fn=lambda *_: "one")
        def once(): return 1

        async def hook(flow, run, state): seen.append(state.name)

        seen = []

        @flow(timeout_seconds=30, log_prints=True, on_completion=[hook])
        def main():
            return once.submit().result()

        def everything():
            with bus.subscribe(lambda event: seen.append(event.type), run_type="flow"):
                assert main() == 1
            with use_bus(EventBus()):
                assert main() == 1
            flow(lambda: None, log_prints=True)()
            assert seen[-1] == "Completed" and "eventflow.flow-run.Completed" in seen

        main()
        lock, held, over = {lock}, threading.Event(), threading.Event()

        def hold():
            with lock:
                held.set()
                over.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            code = 1
            try:
                everything()
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        over.set()
        thread.join()
        assert code == 0, code
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_task_runner_that_is_a_class() -> None:
    """A class is called once, when the flow is declared or copied with other options."""

    @task
    def where() -> str:
        return threading.current_thread().name

    @flow(task_runner=ThreadPoolTaskRunner)
    def main() -> str:
        return where.submit().result()

    assert isinstance(main.task_runner, ThreadPoolTaskRunner)
    assert main().startswith("eventflow-worker")
    copied = main.with_options(task_runner=ThreadPoolTaskRunner)
    assert isinstance(copied.task_runner, ThreadPoolTaskRunner)
    assert copied.task_runner is not main.task_runner
