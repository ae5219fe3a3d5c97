"""However a hook is written, it runs when its process was killed, and has all it is promised."""

from __future__ import annotations

import signal

from tests.guarantee.stage import Stage


def test_hooks_that_no_other_process_can_import(stage: Stage) -> None:
    """Lambda, closure, partial, bound method and callable object survive by value, in order."""
    program = stage.python(
        """
        from functools import partial

        class Bound:
            def __init__(self, word):
                self.word = word

            def method(self, flow, run, state):
                tell(self.word, state.name)

            @classmethod
            def of_class(cls, flow, run, state):
                tell(cls.__name__, state.name)

            @staticmethod
            def static(flow, run, state):
                tell("static", state.name)

            def __call__(self, flow, run, state):
                tell(self.word, "called", state.name)

        def made(words):
            def closure(flow, run, state):
                tell(words, state.name)

            return closure

        def named(word, flow, run, state):
            tell(word, state.name)

        @flow
        def etl():
            die()

        if __name__ == "__main__":
            hooks = [
                lambda flow, run, state: tell("lambda", state.name),
                made(["closure", {"of": 2}]),
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
    told = stage.told()
    assert told == [
        ["lambda", "Crashed"],
        [["closure", {"of": 2}], "Crashed"],
        ["partial", "Crashed"],
        ["bound", "Crashed"],
        ["object", "called", "Crashed"],
        ["Bound", "Crashed"],
        ["static", "Crashed"],
    ], program.output
    assert program.pid not in {one.pid for one in told}
    stage.assert_clean()


def test_a_hook_that_can_be_handed_to_nobody(stage: Stage) -> None:
    """It runs in its own process; that it is not guaranteed is said once, at the start."""
    program = stage.python(
        """
        def holding(lock):
            def locked(flow, run, state):
                with lock:
                    tell("locked", state.name)

            return locked

        @flow(on_completion=[heard], on_crashed=[heard])
        def etl(body):
            body()

        if __name__ == "__main__":
            hook = holding(threading.Lock())
            etl.on_running(hook)
            etl.on_completion(hook)
            etl.on_crashed(hook)
            etl(lambda: tell("one"))
            etl(lambda: tell("two"))
            etl(die)
        """
    )
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [
        *(["locked", "Running"], ["one"], ["etl", "Completed", 1], ["locked", "Completed"]),
        *(["locked", "Running"], ["two"], ["etl", "Completed", 1], ["locked", "Completed"]),
        *(["locked", "Running"], ["etl", "Crashed", 1]),
    ], program.output
    assert program.output.count("cannot be guaranteed") == 1
    said = program.output.index(
        "holding.<locals>.locked cannot be guaranteed: it is defined within"
    )
    assert said < program.output.index("cannot pickle '_thread.lock' object")
    stage.assert_clean()


def test_such_a_hook_that_is_owed_is_a_dead_letter(stage: Stage) -> None:
    """Where the process dies in the middle of it, it is kept, with the reason, to be redriven."""
    program = stage.python(
        """
        @flow(on_crashed=[heard])
        def etl(): ...

        if __name__ == "__main__":
            lock = threading.Lock()

            def deadly(flow, run, state):
                tell(state.name, lock.locked())
                die()

            etl.on_running(deadly)
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [["Running", False], ["etl", "Crashed", 1]], program.output
    stage.assert_clean(dead=["deadly"])
    listed = stage.eventflow("deliveries", "ls", "--json")
    assert "the hook __main__:deadly was not found again" in listed


def test_hooks_for_every_run(stage: Stage) -> None:
    """`@hook` is declared on no definition, and hears of the flows and tasks that others left."""
    program = stage.python(
        """
        @hook(run_type="flow", state=["Running", "Crashed"])
        def flows(flow, run, state):
            tell("flows", flow.name, state.name)

        @hook(run_type="task", state="Crashed", name="ext*", tags={"prod"})
        def tasks(task, run, state):
            tell("tasks", task.name, run.tags)

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
            every = lambda definition, run, state: tell("every", definition.name)
            hook(state="Crashed")(every)
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [
        ["flows", "etl", "Running"],
        *(["tasks", "extract", ["prod"]], ["every", "extract"], ["every", "load"]),
        *(["flows", "etl", "Crashed"], ["every", "etl"]),
    ], program.output
    stage.assert_clean()


def test_async_hooks_and_flows(stage: Stage) -> None:
    """An async hook is awaited in the other process, in its turn."""
    program = stage.python(
        """
        import asyncio

        async def awaited(definition, run, state):
            await asyncio.sleep(0)
            tell("awaited", definition.name, state.name)

        def leaves(definition, run, state):
            async def later():
                await asyncio.sleep(0)
                tell("later", definition.name, runtime.hook.attempt)

            return later()

        @task(on_crashed=[awaited, heard])
        async def step(n):
            await asyncio.sleep(0 if n else 3600)
            die()

        @flow(on_running=[awaited], on_crashed=[heard, leaves, awaited])
        async def etl():
            await asyncio.gather(step(0), step(1))

        if __name__ == "__main__":
            asyncio.run(etl())
        """
    )
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [
        ["awaited", "etl", "Running"],
        *(["awaited", "step", "Crashed"], ["step", "Crashed", 1]),
        *(["awaited", "step", "Crashed"], ["step", "Crashed", 1]),
        *(["etl", "Crashed", 1], ["later", "etl", 1], ["awaited", "etl", "Crashed"]),
    ], program.output
    stage.assert_clean()


def test_what_a_hook_finds_around_it(stage: Stage) -> None:
    """Its logger, `runtime`, the run with its times and parameters: all as in its own process."""
    program = stage.python(
        """
        def facts(definition, run, state):
            get_run_logger().warning("a word from the hook")
            print("printed by the hook")
            tell(
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
            tell(runtime.flow_run.id, runtime.task_run.id)
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
    _, (flow_run, task_run), of_task, of_flow = stage.told()
    parameters = {"word": "x", "many": 1}
    vanished = "The process that executed it"
    around = [flow_run, "etl-x", "etl", parameters, ["f"]]
    state = ["CRASHED", vanished]
    assert of_task == [
        *around,
        *(task_run, "step-1", "step"),
        *(task_run, "step-1", 2, True, True, True, {"n": 1}, of_task[15], *state),
        *("step", "Crashed", flow_run),
    ]
    assert "t" in of_task[15]
    assert of_flow == [
        *around,
        *(None, None, None),
        *(flow_run, "etl-x", 1, True, True, True, parameters, ["f"], *state),
        *("etl", "Crashed", "None"),
    ]
    assert program.output.count("a word from the hook") == 2
    assert program.output.count("printed by the hook") == 2
    stage.assert_clean()


def test_a_delivery_keeps_its_id_and_its_retries(stage: Stage) -> None:
    """Attempts are counted across processes; the delay and the number of retries are its own."""
    program = stage.python(
        """
        from eventflow import Hook

        def unlucky(flow, run, state):
            tell(runtime.hook.delivery_id, runtime.hook.attempt)
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
    told = stage.told()
    assert [attempt for _, attempt in told] == [1, 2, 3, 4, 5], program.output
    assert len({delivery_id for delivery_id, _ in told}) == 1
    assert [one.pid == program.pid for one in told] == [True, True, False, False, False]
    assert stage.deliveries() == [("unlucky", "delivered", 5)]
    assert stage.states() == [("etl", "Completed")]
    stage.assert_clean()
