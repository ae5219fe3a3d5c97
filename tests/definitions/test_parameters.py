"""Binding, validating and coercing parameters, with errors that name the parameter."""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from datetime import date
from typing import Annotated, Any, Protocol

import pytest
from pydantic import BaseModel, Field, SecretBytes, SecretStr, field_validator

from eventflow import flow, task
from eventflow.definitions.parameters import Parameters
from eventflow.errors import ParameterBindError, ParameterTypeError

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


class Point(BaseModel):
    x: int
    y: int = 0


@dataclasses.dataclass
class Spot:
    x: int


class Plain:
    pass


def everything(
    a: int, /, b: str, *more: int, c: date, d: Point | None = None, **rest: float
) -> Any:
    return a, b, more, c, d, rest


def test_coercion() -> None:
    """A flow's arguments are coerced to their annotations, of every kind of parameter."""
    result = flow(everything)("1", "x", "2", 3, c="2024-02-29", d={"x": "5"}, e="1.5")  # type: ignore[call-overload]

    assert result == (1, "x", (2, 3), date(2024, 2, 29), Point(x=5), {"e": 1.5})


def test_no_validation() -> None:
    """Without validation, and in tasks, arguments stay as they are."""

    def body(number: int) -> Any:
        return number

    assert flow(validate_parameters=False)(body)("1") == "1"  # type: ignore[call-overload]
    assert task(body)("1") == "1"  # type: ignore[call-overload]


def test_errors_name_every_parameter() -> None:
    """Every parameter that does not fit is named, with where and what was given."""

    @flow
    def body(number: int, point: Point, spot: Spot, day: date = date.min) -> None:
        pass

    with pytest.raises(ParameterTypeError) as caught:
        body("x", {"y": 1}, {"x": "no"})  # type: ignore[call-overload]
    problems = caught.value.problems
    assert set(problems) == {"number", "point", "spot"}
    assert "got 'x'" in problems["number"]
    assert problems["point"].startswith("x: Field required")
    assert "body was called with parameters that do not fit" in str(caught.value)


def test_an_error_shows_little_of_a_huge_value() -> None:
    """A value is shown in short, also one whose own repr fails."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    @flow
    def body(number: int) -> None:
        pass

    for value in (["x" * 10_000] * 1000, Broken(), "y" * 100_000):
        with pytest.raises(ParameterTypeError) as caught:
            body(value)  # type: ignore[call-overload]
        assert len(str(caught.value)) < 2000


def test_a_secret_is_not_shown() -> None:
    """An error about a parameter shows no secret."""

    @flow
    def body(number: int) -> None:
        pass

    with pytest.raises(ParameterTypeError) as caught:
        body(SecretStr("hunter2"))  # type: ignore[call-overload]
    assert "hunter2" not in str(caught.value)


def test_constraints_and_arbitrary_types() -> None:
    """Annotated constraints hold, and a plain class is checked by isinstance."""

    @flow
    def body(number: Annotated[int, Field(gt=0)], plain: Plain) -> bool:
        return True

    assert body(1, Plain())
    with pytest.raises(ParameterTypeError, match="number: Input should be greater than 0"):
        body(0, Plain())
    with pytest.raises(ParameterTypeError, match="plain: Input should be an instance of Plain"):
        body(1, 3)  # type: ignore[call-overload]


def test_calls_that_do_not_bind() -> None:
    """A call that does not fit the signature tells both."""
    for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"z": 2})):
        with pytest.raises(ParameterBindError, match=r"^body\(a, b=2\) cannot be called with"):
            task(name="body")(lambda a, b=2: None)(*args, **kwargs)


def test_the_order_of_parameters() -> None:
    """Parameters are in the order of the signature, however they were given."""
    parameters = Parameters(lambda a, b=2, c=3: None, "p")

    assert list(parameters.bind((1,), {}).items()) == [("a", 1), ("b", 2), ("c", 3)]
    assert list(parameters.bind((), {"c": 9, "a": 1})) == ["a", "b", "c"]


def unreadable(number: int, other: Nowhere) -> Any:  # type: ignore[name-defined]  # noqa: F821
    return number


def test_an_annotation_that_cannot_be_read() -> None:
    """Only the parameter whose annotation cannot be read goes unchecked, and a warning says so."""
    with pytest.warns(UserWarning, match="annotation 'Nowhere' of the parameter 'other'"):
        assert flow(unreadable)("3", "anything") == 3  # type: ignore[call-overload]


def test_a_return_annotation_does_not_matter() -> None:
    """A return annotation is not read."""

    def body(number: int) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
        return number

    assert flow(body)("3") == 3  # type: ignore[call-overload]


def test_other_callables() -> None:
    """Partials, callable objects and methods are validated by the annotations they have."""

    def add(number: int, other: int) -> int:
        return number + other

    class Adder:
        def __call__(self, number: int) -> int:
            return number + 1

        @flow
        def method(self, number: int) -> int:
            return number + 2

    class Wrapped:
        @functools.wraps(add)
        def __call__(self, *given: Any) -> Any:
            return add(*given)

    assert flow(functools.partial(add, 1))("2") == 3
    assert flow(Adder())("2") == 3  # type: ignore[call-overload]
    assert Adder().method("2") == 4  # type: ignore[call-overload]
    assert flow(lambda number: number)("2") == "2"


def test_what_the_run_knows() -> None:
    """A run's parameters are the validated ones; empty where a call could not be bound."""
    seen: list[Any] = []

    def record(definition: Any, run: Any, state: Any) -> None:
        seen.append((state.name, dict(run.parameters)))

    def body(number: int, other: int = 2) -> None:
        pass

    flow(on_running=[record])(body)("1")  # type: ignore[call-overload]
    task(on_running=[record])(body)(1)
    task(on_running=[record])(body)(number=1)
    flow(on_failure=[record])(body)(1, 2, 3, return_state=True)
    assert seen == [("Running", {"number": 1, "other": 2})] * 3 + [("Failed", {})]


class Database(BaseModel):
    """Has a secret, and a field that may be missing."""

    host: str
    port: int
    code: SecretStr


class Refusing(BaseModel):
    """Says in its error what it was given."""

    code: SecretStr

    @field_validator("code", mode="before")
    @classmethod
    def _refuse(cls, code: object) -> object:
        raise ValueError(f"{code} is no good")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Annotated[SecretStr, Field(min_length=20)], "hunter2"),
        (Annotated[SecretBytes, Field(min_length=20)], b"hunter2"),
        (Annotated[SecretStr | None, Field(min_length=20)], "hunter2"),
        (Database, {"host": "h", "code": "hunter2"}),
        (list[Database], [{"host": "h", "code": "hunter2"}]),
        (dict[str, Database | int], {"x": {"host": "h", "code": "hunter2"}}),
        (Refusing, {"code": "hunter2"}),
        (int, {"password": "hunter2"}),
        (dict[str, int], {"api_key": "hunter2"}),
        (int, "postgres://me:hunter2@host"),
    ],
)
def test_an_error_shows_no_secret(annotation: Any, value: object) -> None:
    """Neither what was refused for a secret, nor its neighbours' input, nor what is called so."""

    def body(given: Any) -> None:
        pass

    body.__annotations__["given"] = annotation
    state = flow(body)(value, return_state=True)
    assert isinstance(state.data, ParameterTypeError)
    assert state.error is not None
    for text in (str(state.data), str(state.message), state.error.message, state.error.traceback):
        assert "given" in text
        assert "hunter2" not in text


def test_an_error_about_a_parameter_that_is_called_like_a_secret() -> None:
    """It names the parameter and the type of what was given."""

    @flow
    def body(token: int) -> None:
        pass

    with pytest.raises(ParameterTypeError, match=r"token: .*, got a str") as caught:
        body("hunter2")  # type: ignore[call-overload]
    assert "hunter2" not in str(caught.value)


def test_a_signature_shows_no_secret() -> None:
    """In an error, the default of a parameter that is called like a secret is masked."""

    def body(a: int, token: str = "hunter2", url: str = "x://me:hunter2@host", n: int = 3) -> None:
        pass

    with pytest.raises(ParameterBindError, match=r"n: .int. = 3") as caught:
        flow(body)()  # type: ignore[call-overload]
    assert "hunter2" not in str(caught.value)


class Untyped(Protocol):
    """A protocol that cannot be checked at run time."""

    name: str


def test_an_annotation_that_cannot_be_used_is_warned_of() -> None:
    """The parameter is not validated, the others are."""

    def body(given: Any, number: int) -> int:
        return number

    any_body: Any = body
    annotations: list[Any] = [Untyped, list[Untyped], Untyped | None]
    if sys.version_info < (3, 12):
        typed_dict: Any = typing.TypedDict
        annotations.append(typed_dict("Old", {"a": int}))
    for annotation in annotations:
        body.__annotations__["given"] = annotation
        with pytest.warns(UserWarning, match="'given' of .*body cannot be read"):
            assert flow(any_body)(None, "3") == 3
