"""References: the names that other processes know definitions by."""

from __future__ import annotations

from typing import Any

from eventflow import flow
from eventflow.hooks.references import reference_of


@flow
def a_flow() -> None: ...


def make_function() -> Any:
    def within(*_: Any) -> None: ...

    return within


def test_a_definition_is_named_by_the_variable_that_holds_it() -> None:
    """Where no variable of a module does, by its function and a number."""
    assert reference_of(a_flow).text == f"{__name__}:a_flow"
    copy = reference_of(a_flow.with_options(name="other"))
    assert copy.text.startswith(f"{__name__}:a_flow#")
    inner = reference_of(flow(make_function()))
    assert inner.text.startswith(f"{__name__}:make_function.<locals>.within#")
    assert (reference_of(a_flow).is_loadable, copy.is_loadable) == (True, False)
