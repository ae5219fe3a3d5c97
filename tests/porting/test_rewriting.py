"""Imports, names and settings are rewritten; all else of a source stays as it is."""

from __future__ import annotations

from textwrap import dedent

import pytest

from eventflow.porting.rewriting import port_source


def port(source: str) -> str:
    """Return a source as it is rewritten, once it is shown that nothing more would change."""
    ported = port_source(dedent(source).encode()).source
    assert port_source(ported).source == ported

    return ported.decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from prefect import flow, task", "from eventflow import flow, task"),
        ("from prefect import flow as f", "from eventflow import flow as f"),
        ("from prefect import runtime", "from eventflow import runtime"),
        ("from prefect import states as s", "from eventflow import states as s"),
        ("from prefect.futures import wait", "from eventflow import wait"),
        ("from prefect.runtime import flow_run", "from eventflow.runtime import flow_run"),
        ("from prefect.blocks.system import Secret", "from eventflow.blocks.system import Secret"),
        ("import prefect", "import eventflow"),
        ("import prefect as p", "import eventflow as p"),
        ("import prefect.states", "import eventflow.states"),
        ("import prefect.task_runners as r", "import eventflow.runners as r"),
        ("import os, prefect", "import os\nimport eventflow"),
        ("from .prefect import flow", "from .prefect import flow"),
        ("import prefectly", "import prefectly"),
    ],
)
def test_an_import_is_rewritten(before: str, after: str) -> None:
    """In every form that it can have."""
    assert port(f"{before}\n") == f"{after}\n"


def test_names_of_one_statement_may_go_to_several_modules() -> None:
    """Comments stay where they are, and what has no counterpart stays with Prefect."""
    assert port("""
        # what is needed
        from prefect.settings import (  # settings
            PREFECT_API_URL,  # the address
            PREFECT_API_KEY,
            temporary_settings,
        )
        from prefect import flow, serve  # noqa: F401
        x = 1; from prefect import task, deploy; y = 2
        """) == dedent("""
        # what is needed
        from eventflow.settings import (  # settings
            EVENTFLOW_API_URL,  # the address
            temporary_settings,
        )
        from prefect.settings import (
            PREFECT_API_KEY,
        )
        from eventflow import flow  # noqa: F401
        from prefect import serve  # noqa: F401
        x = 1; from eventflow import task; from prefect import deploy; y = 2
        """)


def test_whole_names_are_rewritten() -> None:
    """And the modules that they need are imported, those that are kept among them."""
    assert port("""
        import prefect
        import prefect.states as st

        @prefect.flow(name="x")
        def f(prefect2: prefect.states.State, s: st.State = st . Completed()) -> None:
            prefect . get_run_logger().info(prefect.runtime.flow_run.id)
            prefect.blocks.system.Secret.load("x")
            g(prefect=1)

        def g(prefect):
            return prefect.flow
        """) == dedent("""
        import eventflow
        import eventflow.blocks.system
        import eventflow.states
        import eventflow.states as st

        @eventflow.flow(name="x")
        def f(prefect2: eventflow.states.State, s: st.State = st . Completed()) -> None:
            eventflow.get_run_logger().info(eventflow.runtime.flow_run.id)
            eventflow.blocks.system.Secret.load("x")
            g(prefect=1)

        def g(prefect):
            return prefect.flow
        """)


def test_a_module_stays_imported_where_something_of_it_has_no_counterpart() -> None:
    assert port("""
        import prefect as p

        @p.flow
        def f(): ...
        p.serve(f)
        """) == dedent("""
        import prefect as p
        import eventflow

        @eventflow.flow
        def f(): ...
        p.serve(f)
        """)


def test_another_name_is_used_where_it_was() -> None:
    """Unless it means something else there already, or other modules import it from this one."""
    assert port("""
        from prefect.futures import PrefectFuture
        from prefect.settings import PREFECT_API_URL

        def f(future: PrefectFuture[int]) -> str:
            return PREFECT_API_URL.value()
        """) == dedent("""
        from eventflow.runs import Future
        from eventflow.settings import EVENTFLOW_API_URL

        def f(future: Future[int]) -> str:
            return EVENTFLOW_API_URL.value()
        """)
    assert port("""
        from concurrent.futures import Future
        from prefect.futures import PrefectFuture
        """) == dedent("""
        from concurrent.futures import Future
        from eventflow.runs import Future as PrefectFuture
        """)
    assert port("""
        from prefect.futures import PrefectFuture
        x: "PrefectFuture[int] | None"
        """) == dedent("""
        from eventflow.runs import Future as PrefectFuture
        x: "PrefectFuture[int] | None"
        """)
    assert port("""
        from prefect.settings import PREFECT_API_URL as url
        from prefect.settings import PREFECT_HOME
        __all__ = ["PREFECT_HOME"]
        """) == dedent("""
        from eventflow.settings import EVENTFLOW_API_URL as url
        from eventflow.settings import EVENTFLOW_HOME as PREFECT_HOME
        __all__ = ["PREFECT_HOME"]
        """)


def test_settings_of_the_environment_are_rewritten() -> None:
    """Where a string is the name of one, and nothing but that."""
    assert port("""
        import os
        os.environ["PREFECT_API_URL"] = os.getenv('PREFECT_HOME', f"PREFECT_HOME")
        dict(os.environ, PREFECT_HOME = "/tmp")
        "the PREFECT_API_URL is set"
        """) == dedent("""
        import os
        os.environ["EVENTFLOW_API_URL"] = os.getenv('EVENTFLOW_HOME', f"PREFECT_HOME")
        dict(os.environ, EVENTFLOW_HOME = "/tmp")
        "the PREFECT_API_URL is set"
        """)


def test_a_conditional_import_is_rewritten() -> None:
    assert port("""
        try:
            from prefect import flow
        except ImportError:
            flow = None
        if flow: from prefect import task, serve
        """) == dedent("""
        try:
            from eventflow import flow
        except ImportError:
            flow = None
        if flow: from eventflow import task; from prefect import serve
        """)


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbffrom prefect import flow\r\n\r\n\r\nx = ( 1,2 )   # \xc3\xa9\r\n",
        b"# -*- coding: latin-1 -*-\nfrom prefect import flow\nx = '\xe9'\n",
        b"from prefect import flow",
        b"\tx\n",
        b"def f(:\n",
        b"\xff\xfe",
        b"x\0",
        b"# coding: nothing\n",
        b"",
        b"x = 1\n",
    ],
)
def test_other_bytes_stay_as_they_are(source: bytes) -> None:
    """Line ends, encodings, marks; and sources that cannot be read."""
    assert port_source(source).source == source.replace(b"prefect", b"eventflow")


def test_a_source_that_cannot_be_read_is_left() -> None:
    """With the line at which Python would stop, and what it would say."""
    (finding,) = port_source(b'from prefect import flow\nx = "y\n').left
    assert (finding.line, finding.column) == (2, 5)
    assert finding.what.startswith("unterminated string literal")
