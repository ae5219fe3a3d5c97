"""A method that answers yes or no is no answer itself."""

from __future__ import annotations

import pytest

from eventflow.states.checks import checked


class Door:
    """A door."""

    @checked
    def is_open(self) -> bool:
        """Whether one can go through."""
        return True


def test_it_is_called_as_any_method() -> None:
    """It has its documentation, and binds its instance."""
    assert Door().is_open() is True
    assert Door.is_open.__doc__ == "Whether one can go through."


def test_without_the_call_it_has_no_truth_value() -> None:
    """Any other bound method would be true."""
    with pytest.raises(TypeError, match=r"^Door\.is_open is a method: call it"):
        bool(Door().is_open)
