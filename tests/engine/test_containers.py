"""Futures and states among the arguments, wherever data can hold them."""

from __future__ import annotations

import asyncio
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from dataclasses import FrozenInstanceError, dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import attrs
import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr, RootModel

from eventflow import allow_failure, flow, task
from eventflow.errors import HiddenFutureError
from eventflow.events import Event
from eventflow.states import Completed, Failed

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@task
def one() -> int:
    return 1


@task
async def aone() -> int:
    return 1


@task
def fail() -> int:
    raise ValueError("no")


@task
def see(value: Any) -> Any:
    return value


@task
async def asee(value: Any) -> Any:
    return value


@dataclass
class Plain:
    rows: Any
    made: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.made.append("once")


@dataclass(frozen=True)
class Frozen:
    rows: Any


@dataclass(frozen=True, slots=True)
class Slotted:
    rows: Any
    later: Any = field(init=False, compare=False)


@dataclass(slots=True)
class Above:
    first: Any


@dataclass(slots=True)
class Below(Above):
    rows: Any


@attrs.define
class Attrs:
    rows: Any


@attrs.frozen
class FrozenAttrs:
    rows: Any


@attrs.define(slots=False)
class LooseAttrs:
    rows: Any


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")
    rows: Any
    _private: Any = PrivateAttr(None)
    _unset: Any = PrivateAttr()


class FrozenModel(BaseModel, frozen=True):
    rows: Any


class Rows(RootModel[Any]):
    pass


class Named(NamedTuple):
    rows: Any
    size: int


class Labels(dict[str, Any]):
    """A dict of a kind of its own, with an attribute."""

    origin = "nowhere"


class Items(list[Any]):
    pass


class Unique(set[Any]):
    pass


class Frozenset(frozenset[Any]):
    pass


class Sequence(tuple[Any, ...]):  # noqa: SLOT001 - one with attributes
    pass


def fresh() -> Any:
    return []


def labelled(value: Any) -> Labels:
    labels = Labels(z=value)
    labels.origin = "here"
    return labels


SHAPES: dict[str, Any] = {
    "dataclass": Plain,
    "frozen dataclass": Frozen,
    "frozen dataclass with slots": Slotted,
    "dataclass within a dataclass": lambda it: Frozen(Slotted([it])),
    "slots of two classes": lambda it: Below(it, [it]),
    "attrs": Attrs,
    "frozen attrs": FrozenAttrs,
    "attrs without slots": LooseAttrs,
    "model": lambda it: Model(rows=it),
    "extra of a model": lambda it: Model.model_validate({"rows": 0, "extra": it}),
    "frozen model": lambda it: FrozenModel(rows=[it]),
    "root model": Rows,
    "named tuple": lambda it: Named(it, 2),
    "tuple": lambda it: Sequence((it, 2)),
    "list": lambda it: Items([it]),
    "set": lambda it: Unique([it]),
    "frozenset": lambda it: Frozenset([it]),
    "dict": labelled,
    "OrderedDict": lambda it: OrderedDict(b=it, a=2),
    "defaultdict": lambda it: defaultdict(list, z=it),
    "Counter": lambda it: Counter({it: 3}),
    "key": lambda it: {it: it},
    "part of a key": lambda it: {(it, "a"): 1},
    "deque": lambda it: deque([0, it], maxlen=3),
    "MappingProxy": lambda it: MappingProxyType(OrderedDict(a=it)),
    "SimpleNamespace": lambda it: SimpleNamespace(a=it),
    "UserDict": lambda it: UserDict({"a": it}),
    "UserList": lambda it: UserList([it]),
    "ChainMap": lambda it: ChainMap({"a": it}, {"b": 2}),
    "all together": lambda it: [{"a": deque([Frozen((Model(rows=Attrs(it)),))])}],
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_data_holds_is_replaced_in_its_place(shape: Any) -> None:
    """A copy of the same type has the result; what was given keeps the future."""

    @flow
    def main() -> Any:
        given = [shape(one.submit()), shape(Completed(data=1))]
        return [see(value) for value in given], see.submit(given[0]).result(), given

    @flow
    async def amain() -> Any:
        return await asee(shape(aone.submit())), await asee.submit(shape(aone.submit()))

    expected = shape(1)
    (called, from_state), submitted, given = main()
    for got in (called, from_state, submitted, *asyncio.run(amain())):
        assert got == expected
        assert type(got) is type(expected)
    assert given[0] != expected


def test_what_a_type_keeps_beside_its_items() -> None:
    """The length of a deque, the default of a dict, attributes, and what no `__init__` took."""

    @flow
    def main() -> list[Any]:
        plain = Plain(one.submit())
        plain.made.append("twice")
        slotted = Slotted(1)
        object.__setattr__(slotted, "later", one.submit())
        model = Model(rows=one.submit())
        model._private = one.submit()
        future = one.submit()
        return [
            see(value)
            for value in (
                deque([future], maxlen=7),
                defaultdict(fresh, z=future),
                labelled(future),
                plain,
                slotted,
                model,
                OrderedDict([("b", future), ("a", 2)]),
            )
        ]

    queue, default, labels, plain, slotted, model, ordered = main()
    assert queue.maxlen == 7
    assert default["new"] == []
    assert labels.origin == "here"
    assert plain.made == ["once", "twice"]
    assert slotted.later == 1
    assert (model._private, model.model_fields_set) == (1, {"rows"})
    assert list(ordered) == ["b", "a"]
    with pytest.raises(FrozenInstanceError):
        slotted.rows = 2


def test_failed_upstream_in_an_object() -> None:
    """A failed task that an object holds keeps the body from beginning, unless it is allowed to."""

    @flow
    def main() -> tuple[str, Any]:
        future = fail.submit()
        state = see(Frozen(future), return_state=True)
        return state.name, see(allow_failure(Frozen(future)))

    name, allowed = main()
    assert name == "NotReady"
    assert isinstance(allowed.rows, ValueError)


def test_objects_that_hold_each_other() -> None:
    """Nodes that know their parents are copied together: each knows the copy of the other."""

    @flow
    def main() -> tuple[Any, Any]:
        root, child = SimpleNamespace(), Plain(one.submit())
        root.children = [child]
        root.same = root.children
        child.parent = root  # type: ignore[attr-defined]
        return root, see(root)

    given, root = main()
    assert root is not given
    assert root.children[0].rows == 1
    assert root.children[0].parent is root
    assert root.same is root.children


def test_what_holds_no_future_is_not_copied() -> None:
    """It comes to the body as it was given, beside a future as well."""

    @flow
    def main() -> bool:
        data = {shape: SHAPES[shape](1) for shape in SHAPES}
        beside = see([data, one.submit()])
        assert beside[1] == 1
        return see(data) is data and beside[0] is data

    assert main()


class Holder:
    def __init__(self, rows: Any) -> None:
        self.rows = rows


@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: [it], allow_failure])
def test_a_future_in_any_other_object_is_an_error(wrap: Any) -> None:
    """The body does not begin; the error names the attribute."""

    @flow
    def main() -> Any:
        given = wrap(Holder(one.submit()))
        return see(given, return_state=True), see.submit(given).wait() and see.submit(given).state

    with pytest.raises(HiddenFutureError, match=r"see was given .* in Holder\.rows"):
        main()
    assert see(Holder(1)).rows == 1


def test_an_event_is_a_fact() -> None:
    """Nothing in an event is replaced, nor waited for: its states stay states."""

    class Noted(Event):
        state: Any

    noted = Noted(state=Failed())

    assert see(noted) is noted
