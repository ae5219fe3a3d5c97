"""What is left to do is told: the line, the code, and what to do."""

from __future__ import annotations

from textwrap import dedent

import pytest

from eventflow.porting.rewriting import port_source
from tests.porting.conftest import FOLDER


def left(source: str) -> list[tuple[int, str]]:
    """Return the line and the code of what is left, the same before and after it is ported."""
    ported = port_source(dedent(source).lstrip().encode())
    again = port_source(ported.source)
    assert [finding.advice for finding in ported.left] == [finding.advice for finding in again.left]
    assert all(finding.advice.endswith(".") for finding in ported.left)

    return [(finding.line, finding.what) for finding in ported.left]


def test_deployments_work_pools_and_integrations_are_told_line_by_line() -> None:
    """And all else that has no counterpart, in a program that has a bit of everything."""
    source = (FOLDER / "programs" / "deployments.py").read_text()
    assert left(source) == [
        (5, "serve"),
        (6, "MicrosoftTeamsWebhook"),
        (7, "INPUTS"),
        (9, "run_deployment"),
        (10, "deployment"),
        (11, "Variable"),
        (12, "S3Bucket"),
        (15, "cache_policy=INPUTS"),
        (15, "persist_result=True"),
        (17, "S3Bucket.load"),
        (22, "Variable.get"),
        (25, 'result_storage="s3-bucket/results"'),
        (28, "deployment.name"),
        (28, "flow_run.parent_deployment_id"),
        (30, "future.result()"),
        (32, "await state.result()"),
        (35, "client.create_flow_run_from_deployment"),
        (40, "run_deployment"),
        (44, "nightly.serve"),
        (45, "serve"),
        (45, "nightly.to_deployment"),
        (45, "other.to_deployment"),
        (46, "nightly.deploy"),
        (51, "flow.from_source"),
        (54, "(…).deploy"),
    ]


@pytest.mark.parametrize(
    ("call", "is_told"),
    [
        ("await state.result()", True),
        ("await raise_state_exception(state)", True),
        ("await other(return_state=True)", False),
        ("await (await other(return_state=True)).result()", True),
        ("await work.submit(1)", True),
        ("await work.map([1])", True),
        ("await work(1)", False),
        ("await work.submit(1).wait()", True),
        ("await unknown.wait()", False),
        ("await unknown.result()", True),
        ("await (future := work.submit(1))", False),
        ("state.result()", False),
    ],
)
def test_await_before_a_plain_call(call: str, is_told: bool) -> None:
    """It is told where the call is known to be plain, and where it is `result()`."""
    source = f"""
        from prefect import flow, task
        from prefect.states import State, raise_state_exception

        @task
        async def work(x): ...

        @flow
        async def other(): ...

        @flow
        async def main(state: State, unknown):
            {call}
        """
    assert bool(left(source)) is is_told


@pytest.mark.parametrize(
    ("call", "is_told"),
    [
        ("work.submit(1).result()", True),
        ("work.map([1]).wait()", True),
        ("[f.result() for f in [work.submit(i) for i in (1, 2)]]", True),
        ("wait([work.submit(1)])", True),
        ("fu.wait(work.map([1]))", True),
        ("list(f.result() for f in work.map([1]))", True),
        ("[f for f in futures if futures[0].result()]", True),
        ("plain.submit(1).result()", False),
        ("lambda: futures[0].result()", False),
        ("await futures", False),
        ("work.submit(1, return_state=True).result()", False),
    ],
)
def test_waiting_for_the_loop_that_waits(call: str, is_told: bool) -> None:
    """In an async function the future of an async task has to be awaited."""
    source = f"""
        import prefect.futures as fu
        from prefect import flow, task
        from prefect.futures import wait

        @task
        async def work(x): ...

        @task
        def plain(x): ...

        @flow
        async def main():
            futures = work.map([1, 2])
            {call}
        """
    assert bool(left(source)) is is_told


def test_for_over_as_completed_on_the_loop() -> None:
    assert left("""
        from prefect import flow, task
        from prefect.futures import as_completed

        @task
        async def work(x): ...

        @flow
        async def main():
            futures = work.map([1, 2])
            for future in as_completed(futures):
                future.result()

        @flow
        def plain():
            for future in as_completed(work.map([1, 2])):
                future.result()
        """) == [(10, "as_completed(futures)"), (11, "future.result()")]


def test_options_that_there_are_not() -> None:
    """In each form of decoration, and on copies."""
    assert left("""
        import prefect
        from prefect import flow, task, Task

        @flow(result_serializer="json", retries=1)
        def a(): ...

        @prefect.task(result_storage_key="x")
        def b(): ...

        c = flow(a.fn, persist_result=True)
        d = b.with_options(on_commit=[print], name="d")
        e = dict(persist_result=True)
        """) == [
        (4, 'result_serializer="json"'),
        (7, 'result_storage_key="x"'),
        (10, "persist_result=True"),
        (11, "on_commit=[print]"),
    ]


def test_what_a_copy_would_lose() -> None:
    """An empty list and None clear something here, and keep it in Prefect."""
    assert left("""
        from prefect import flow

        @flow(on_failure=[], name=None)
        def f(): ...
        f.with_options(on_failure=[], retries=None, name="g")
        """) == [(5, "on_failure=[]"), (5, "retries=None")]


def test_a_mapping_is_one_item_of_a_map() -> None:
    """In Prefect its keys are mapped over."""
    assert left("""
        from prefect import task

        @task
        def t(x): ...

        t.map({"a": 1})
        t.map(x={"a": 1})
        t.map([1], {"a": 1}.values())
        other.map({"a": 1})
        """) == [(6, '{"a": 1}'), (7, 'x={"a": 1}')]


def test_what_is_quoted_is_one_item_of_a_map() -> None:
    """In Prefect its items are mapped over."""
    assert left("""
        from prefect import task
        from prefect.utilities.annotations import quote

        @task
        def t(x): ...

        t.map(quote([1]))
        t.map([quote(x) for x in [1]])
        """) == [(7, "quote([1])")]


def test_facts_of_a_run_that_there_are_not() -> None:
    """Where a parameter is annotated, and where a function is a hook."""
    assert left("""
        from prefect import flow, task
        from prefect.client.schemas.objects import FlowRun
        from prefect.runtime import flow_run

        def listed(flow, run, state):
            print(run.id, run.deployment_id)

        async def told(task, run, state):
            await state.result()
            print(run.task_key, run.task_name)

        def neither(flow, run, state):
            print(run.deployment_id, state.result())

        def annotated(run: FlowRun):
            print(run.work_pool_name, run.state.name)

        @flow(on_failure=[listed])
        def f(): ...

        @task(on_completion=(told,))
        def t(): ...

        @f.on_crashed
        def crashed(flow, run, state):
            print(run.flow_id, flow.name, flow.serve(), flow_run.job_variables, flow_run.name)
        """) == [
        (6, "run.deployment_id"),
        (9, "await state.result()"),
        (10, "run.task_key"),
        (16, "run.work_pool_name"),
        (26, "run.flow_id"),
        (26, "flow.serve"),
        (26, "flow_run.job_variables"),
    ]


def test_methods_that_there_are_not() -> None:
    """Of what is known to be a flow, a task or a client, and nothing else."""
    assert left("""
        from prefect import flow, get_client, task

        @task
        def t(): ...

        @t.on_rollback
        def undo(transaction): ...

        @flow
        def f():
            t.delay()
            app.serve()
            t.submit()

        async def g(app):
            f.visualize()
            app.deploy("x")
            app.deploy("x", work_pool_name="y")
            async with get_client(sync_client=True) as client:
                await client.read_flow_runs()
                await client.read_work_pools()
        """) == [
        (6, "t.on_rollback"),
        (11, "t.delay"),
        (16, "f.visualize"),
        (18, "app.deploy"),
        (19, "sync_client=True"),
        (21, "client.read_work_pools"),
    ]


def test_a_name_that_means_several_things_is_let_alone() -> None:
    assert (
        left("""
        from prefect import flow, task

        @task
        async def work(x): ...

        @flow
        async def main(pool):
            future = work.submit(1)
            await future
            future = pool.submit(1)
            future.result()
            for work2 in [1]:
                work2.delay()
        """)
        == []
    )


def test_what_a_module_does_not_have() -> None:
    """However the module is imported, and also once it is imported from here."""
    assert left("""
        from prefect import runtime, states
        import prefect.exceptions as errors
        import prefect_mine, redis

        redis.Redis(), prefect_mine.run(runtime.deployment.id, runtime.flow_run.id)
        states.StateGroup([states.Completed()])
        raise errors.ScriptError(errors.FailedRun())
        """) == [
        (5, "runtime.deployment.id"),
        (6, "states.StateGroup"),
        (7, "errors.ScriptError"),
    ]


def test_strings_that_name_something_of_prefect() -> None:
    """Settings without a counterpart, and dotted names, as for a patch."""
    assert left("""
        import os
        os.environ["PREFECT_API_KEY"] = os.environ["PREFECT_API_URL"]
        patch("prefect.flows.load")
        "prefect is a word"
        logging.getLogger("prefect.flow_runs")
        logging.getLogger("prefect")
        database = "prefect"
        subprocess.run(["prefect", "deploy"], env=dict(PREFECT_PROFILE="x"))
        os.system("prefect server start")
        """) == [
        (2, '"PREFECT_API_KEY"'),
        (3, '"prefect.flows.load"'),
        (5, '"prefect.flow_runs"'),
        (6, '"prefect"'),
        (8, '"prefect"'),
        (8, "PREFECT_PROFILE"),
        (9, '"prefect server start"'),
    ]


def test_everything_at_once_is_not_imported() -> None:
    assert left("from prefect import *\n") == [(1, "from prefect import *")]
