"""Hooks of every kind run after their process was killed, with everything they are promised."""

from __future__ import annotations

import signal

import pytest

from tests.guarantee.sandbox import Sandbox


def test_hooks_that_no_other_process_can_import(sandbox: Sandbox) -> None:
    """Lambda, closure, partial, bound method and callable object survive by value, in order."""
    program = sandbox.python(
        """
        from functools import partial

        class Bound:
            def __init__(self, word):
                self.word = word

            def method(self, flow, run, state):
                record(self.word, state.name)

            @classmethod
            def of_class(cls, flow, run, state):
                record(cls.__name__, state.name)

            @staticmethod
            def static(flow, run, state):
                record("static", state.name)

            def __call__(self, flow, run, state):
                record(self.word, "called", state.name)

        def make(words):
            def closure(flow, run, state):
                record(words, state.name)

            return closure

        def named(word, flow, run, state):
            record(word, state.name)

        @flow
        def etl():
            die()

        if __name__ == "__main__":
            hooks = [
                lambda flow, run, state: record("lambda", state.name),
                make(["closure", {"of": 2}]),
                partial(named, "partial"),
                Bound("bound").method,
                Bound("object"),
                Bound.of_class,
                Bound.static,
            ]
            etl.with_options(on_crashed=hooks)()
        """
    )
    assert program.end() == -signal.SIGKILL
    records = sandbox.records()
    assert records == [
        ["lambda", "Crashed"],
        [["closure", {"of": 2}], "Crashed"],
        ["partial", "Crashed"],
        ["bound", "Crashed"],
        ["object", "called", "Crashed"],
        ["Bound", "Crashed"],
        ["static", "Crashed"],
    ], program.output
    assert program.pid not in {record.pid for record in records}
    sandbox.assert_clean()


def test_a_hook_that_cannot_be_handed_over(sandbox: Sandbox) -> None:
    """It runs in its own process; a warning at the start says once that it is not guaranteed.

    Of the crash that nobody can tell it of there is a dead letter.
    """
    program = sandbox.python(
        """
        def holding(lock):
            def locked(flow, run, state):
                with lock:
                    record("locked", state.name)

            return locked

        @flow(on_completion=[record_state], on_crashed=[record_state])
        def etl(body):
            body()

        if __name__ == "__main__":
            hook = holding(threading.Lock())
            etl.on_running(hook)
            etl.on_completion(hook)
            etl.on_crashed(hook)
            etl(lambda: record("first"))
            etl(lambda: record("second"))
            etl(die)
        """
    )
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [
        *(["locked", "Running"], ["first"], ["etl", "Completed", 1], ["locked", "Completed"]),
        *(["locked", "Running"], ["second"], ["etl", "Completed", 1], ["locked", "Completed"]),
        *(["locked", "Running"], ["etl", "Crashed", 1]),
    ], program.output
    assert program.output.count("cannot be guaranteed") == 1
    warning = program.output.index(
        "holding.<locals>.locked cannot be guaranteed: it is defined within"
    )
    assert warning < program.output.index("cannot pickle '_thread.lock' object")
    sandbox.assert_clean(dead=["holding.<locals>.locked"])


def test_a_hook_that_cannot_be_handed_over_becomes_a_dead_letter(sandbox: Sandbox) -> None:
    """If its process dies while it runs: it is kept with the reason, and can be redriven."""
    program = sandbox.python(
        """
        @flow(on_crashed=[record_state])
        def etl(): ...

        if __name__ == "__main__":
            lock = threading.Lock()

            def deadly(flow, run, state):
                record(state.name, lock.locked())
                die()

            etl.on_running(deadly)
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [["Running", False], ["etl", "Crashed", 1]], program.output
    sandbox.assert_clean(dead=["deadly"])
    listed = sandbox.eventflow("deliveries", "ls", "--json")
    assert "The hook __main__:deadly is not available: it is defined in a block" in listed


def test_hooks_for_every_run(sandbox: Sandbox) -> None:
    """`@hook` is called for flows and tasks that another process left."""
    program = sandbox.python(
        """
        @hook(run_type="flow", state=["Running", "Crashed"])
        def flows(flow, run, state):
            record("flows", flow.name, state.name)

        @hook(run_type="task", state="Crashed", name="ext*", tags={"prod"})
        def tasks(task, run, state):
            record("tasks", task.name, run.tags)

        @task(tags={"prod"})
        def extract():
            die()

        @task(tags={"prod"})
        def load():
            extract()

        @flow
        def etl():
            load()

        if __name__ == "__main__":
            every = lambda definition, run, state: record("every", definition.name)
            hook(state="Crashed")(every)
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [
        ["flows", "etl", "Running"],
        *(["tasks", "extract", ["prod"]], ["every", "extract"], ["every", "load"]),
        *(["flows", "etl", "Crashed"], ["every", "etl"]),
    ], program.output
    sandbox.assert_clean()


def test_async_hooks_and_flows(sandbox: Sandbox) -> None:
    """An async hook is awaited in the other process, in order."""
    program = sandbox.python(
        """
        import asyncio

        async def awaited(definition, run, state):
            await asyncio.sleep(0)
            record("awaited", definition.name, state.name)

        def leaves(definition, run, state):
            async def later():
                await asyncio.sleep(0)
                record("later", definition.name, runtime.hook.attempt)

            return later()

        @task(on_crashed=[awaited, record_state])
        async def step(n):
            await asyncio.sleep(0 if n else 3600)
            die()

        @flow(on_running=[awaited], on_crashed=[record_state, leaves, awaited])
        async def etl():
            await asyncio.gather(step(0), step(1))

        if __name__ == "__main__":
            asyncio.run(etl())
        """
    )
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [
        ["awaited", "etl", "Running"],
        *(["awaited", "step", "Crashed"], ["step", "Crashed", 1]),
        *(["awaited", "step", "Crashed"], ["step", "Crashed", 1]),
        *(["etl", "Crashed", 1], ["later", "etl", 1], ["awaited", "etl", "Crashed"]),
    ], program.output
    sandbox.assert_clean()


def test_the_context_of_a_hook(sandbox: Sandbox) -> None:
    """Logger, `runtime`, and the run with its times and parameters are as in its own process."""
    program = sandbox.python(
        """
        def facts(definition, run, state):
            get_run_logger().warning("logged by the hook")
            print("printed by the hook")
            record(
                runtime.flow_run.id, runtime.flow_run.name, runtime.flow_run.flow_name,
                runtime.flow_run.parameters, runtime.flow_run.tags,
                runtime.task_run.id, runtime.task_run.name, runtime.task_run.task_name,
                str(run.id), run.name, run.run_count, run.start_time is not None,
                run.end_time is not None, run.total_run_time.total_seconds() > 0,
                run.parameters, run.tags, state.type.value, state.message.split(" (")[0],
                definition.fn.__name__, run.state_name, str(run.parent_run_id),
            )

        @task(task_run_name="step-{n}", tags=["t"], on_crashed=[facts], retries=1)
        def step(n):
            record(runtime.flow_run.id, runtime.task_run.id)
            if runtime.task_run.run_count == 1:
                raise ValueError
            die()

        @flow(flow_run_name="etl-{word}", tags=["f"], log_prints=True, on_crashed=[facts])
        def etl(word: str = "x", *, many: int = 1):
            step(many)

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    _, (flow_run, task_run), of_task, of_flow = sandbox.records()
    parameters = {"word": "x", "many": 1}
    message = "The process that executed it"
    context = [flow_run, "etl-x", "etl", parameters, ["f"]]
    state = ["CRASHED", message]
    assert of_task == [
        *context,
        *(task_run, "step-1", "step"),
        *(task_run, "step-1", 2, True, True, True, {"n": 1}, of_task[15], *state),
        *("step", "Crashed", flow_run),
    ]
    assert "t" in of_task[15]
    assert of_flow == [
        *context,
        *(None, None, None),
        *(flow_run, "etl-x", 1, True, True, True, parameters, ["f"], *state),
        *("etl", "Crashed", "None"),
    ]
    assert program.output.count("logged by the hook") == 2
    assert program.output.count("printed by the hook") == 2
    sandbox.assert_clean()


CONTEXTS = """
    from eventflow.context import FlowRunContext, TaskRunContext, get_run_context

    def check(definition, run, state):
        of_flow, of_task = FlowRunContext.get(), TaskRunContext.get()
        context = get_run_context()
        record(
            definition.name, state.name, context.run is run, context == (of_task or of_flow),
            context.flow is main, of_flow.flow_run.name, of_flow.parameters, of_flow.run_count,
            of_flow.start_time == of_flow.flow_run.start_time is not None,
            of_task and [of_task.task is inner, of_task.parameters, of_task.run_count],
        )

    @task(on_crashed=[check], retries=1)
    def inner(number: int):
        if get_run_context().run_count == 1:
            raise OSError
        hold()

    @flow(on_running=[check], on_crashed=[check], flow_run_name="of-{day}")
    def main(day: str):
        inner(3)

    if __name__ == "__main__":
        main("monday")
"""


@pytest.mark.parametrize("has_guardian", [True, False], ids=["guardian", "recover"])
def test_the_contexts_of_a_hook(sandbox: Sandbox, *, has_guardian: bool) -> None:
    """Both contexts are as in its own process, with the flow and the task themselves."""
    program = sandbox.python(CONTEXTS)
    sandbox.wait_for_record("ready")
    if has_guardian:
        program.send(signal.SIGKILL)
        program.read_to_end()
    else:
        sandbox.kill_with_guardian(program)
        sandbox.recover()

    of_flow = [True, True, True, "of-monday", {"day": "monday"}, 1, True]
    assert [list(record) for record in sandbox.records()] == [
        ["main", "Running", *of_flow, None],
        ["ready"],
        ["inner", "Crashed", *of_flow, [True, {"number": 3}, 2]],
        ["main", "Crashed", *of_flow, None],
    ], program.output
    sandbox.assert_clean()


def test_a_delivery_keeps_its_id_and_its_retries(sandbox: Sandbox) -> None:
    """Attempts are counted across processes, and its own retries and delay apply."""
    program = sandbox.python(
        """
        from eventflow import Hook

        def unlucky(flow, run, state):
            record(runtime.hook.delivery_id, runtime.hook.attempt)
            if runtime.hook.attempt == 2:
                die()
            if runtime.hook.attempt < 5:
                raise ValueError(runtime.hook.attempt)

        @flow(hooks=[Hook(unlucky, state="Completed", retries=6, retry_delay_seconds=0.01)])
        def etl(): ...

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    records = sandbox.records()
    assert [attempt for _, attempt in records] == [1, 2, 3, 4, 5], program.output
    assert len({delivery_id for delivery_id, _ in records}) == 1
    assert [record.pid == program.pid for record in records] == [True, True, False, False, False]
    assert sandbox.deliveries() == [("unlucky", "delivered", 5)]
    assert sandbox.states() == [("etl", "Completed")]
    sandbox.assert_clean()
