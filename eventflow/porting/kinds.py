"""What the local names of a source stand for: flows, tasks, futures, states, clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import libcst as cst

from eventflow.porting.names import Source, dotted

__all__ = ["Kind", "Kinds"]

Kind = Literal[
    "flow", "task", "async task", "future", "futures", "loop future", "loop futures", "state",
    "states", "client", "flow run", "task run",
]  # fmt: skip
"""A future on the loop is one of an async task: in an async flow only `await` waits for it."""

_EACH: Final[Mapping[Kind, Kind]] = {
    "futures": "future",
    "loop futures": "loop future",
    "states": "state",
}
_SEVERAL: Final[Mapping[Kind, Kind]] = {one: several for several, one in _EACH.items()}
_ANNOTATED: Final[Mapping[str, Kind]] = {
    "eventflow.Flow": "flow",
    "eventflow.Task": "task",
    "eventflow.State": "state",
    "eventflow.flows.Flow": "flow",
    "eventflow.tasks.Task": "task",
    "eventflow.states.State": "state",
    "eventflow.runs.Future": "future",
    "eventflow.runs.futures.FutureList": "futures",
    "eventflow.client.Client": "client",
    "eventflow.FlowRun": "flow run",
    "eventflow.TaskRun": "task run",
}
_DECORATORS: Final[Mapping[str, Literal["flow", "task"]]] = {
    "eventflow.flow": "flow",
    "eventflow.task": "task",
    "eventflow.flows.flow": "flow",
    "eventflow.tasks.task": "task",
}
_FLOW: Final = ("eventflow.flow", "eventflow.flows.flow", "eventflow.Flow", "eventflow.flows.Flow")
_HOOKS: Final = frozenset(
    {"on_cancellation", "on_completion", "on_crashed", "on_failure", "on_running"}
)
_CLASSES: Final = frozenset(path for path in _ANNOTATED if path.endswith((".Flow", ".Task")))


class Kinds(cst.CSTVisitor):
    """Goes through a source once, and then knows what its names stand for."""

    def __init__(self, source: Source, imported: Mapping[str, Kind]) -> None:
        self.source: Final = source
        self._imported = imported
        self._known: dict[tuple[Any, str], set[Kind | None]] = {}
        self._hooks = _Hooks(self)
        source.module.visit(self._hooks)
        source.module.visit(self)

    def definitions(self) -> dict[str, Kind]:
        """Return the flows and tasks that the source defines at its top."""
        found: dict[str, Kind] = {}
        for (scope, name), kinds in self._known.items():
            if type(scope).__name__ == "GlobalScope" and len(kinds) == 1:
                (kind,) = kinds
                if kind in ("flow", "task", "async task"):
                    found[name] = kind

        return found

    def of(self, node: cst.BaseExpression) -> Kind | None:
        """Return what an expression stands for, where that is certain."""
        match node:
            case cst.Name(value=name):
                return self._of_name(node, name) or self._of_path(node)
            case cst.Attribute():
                return self._of_path(node)
            case cst.Await(expression=cst.Call() as call):
                kind = self.of(call)
                return kind if kind in ("state", "client") else None
            case cst.Call():
                return self._of_call(node)

        return self._of_items(node)

    def _of_items(self, node: cst.BaseExpression) -> Kind | None:
        match node:
            case cst.Subscript(value=value, slice=[cst.SubscriptElement(slice=cst.Index())]):
                return _each(self.of(value))
            case cst.ListComp(elt=element) | cst.GeneratorExp(elt=element):
                return _several(self.of(element))
            case cst.List(elements=[cst.Element(value=first), *_]):
                return _several(self.of(first))

        return None

    def is_flow_itself(self, node: cst.BaseExpression) -> bool:
        """Return whether an expression is `flow` or `Flow`, not a flow made by it."""
        return self.source.ours(node) in _FLOW

    def decorates(self, node: cst.BaseExpression) -> Literal["flow", "task"] | None:
        """Return which kind of definition an expression makes of a function."""
        if isinstance(node, cst.Call):
            return None if _has_function(node) else self.decorates(node.func)

        return _DECORATORS.get(self.source.ours(node) or "")

    def _of_path(self, node: cst.Name | cst.Attribute) -> Kind | None:
        path = self.source.path(node)
        if path is None:
            return None

        return self._imported.get(".".join(path.rsplit(".", 2)[-2:]).lstrip("."))

    def _of_name(self, node: cst.Name, name: str) -> Kind | None:
        scope = self.source.scope(node)
        while scope is not None:
            kinds = self._known.get((scope, name))
            if kinds is not None:
                return next(iter(kinds)) if len(kinds) == 1 else None
            scope = None if scope is scope.parent else scope.parent

        return None

    def _of_call(self, node: cst.Call) -> Kind | None:
        function = node.func
        ours = self.source.ours(function) or ""
        if ours in ("eventflow.get_client", "eventflow.client.get_client"):
            return "client"
        if ours == "eventflow.as_completed" and node.args:
            return self.of(node.args[0].value)
        made = self.decorates(function)
        if made is not None or ours in _CLASSES:
            return made or _ANNOTATED[ours] if _has_function(node) else None
        if isinstance(function, cst.Attribute):
            kind = self._of_method(self.of(function.value), function.attr.value, node)
            if kind is not None:
                return kind

        return "state" if _returns_state(node) and _runs(self.of(function)) else None

    def _of_method(self, kind: Kind | None, method: str, node: cst.Call) -> Kind | None:
        if _runs(kind) and method == "with_options":
            return kind
        if method == "from_source" and isinstance(node.func, cst.Attribute):
            return "flow" if kind == "flow" or self.is_flow_itself(node.func.value) else None
        if kind not in ("task", "async task") or method not in ("submit", "map"):
            return None
        future: Kind = "loop future" if kind == "async task" else "future"
        if _returns_state(node):
            future = "state"

        return future if method == "submit" else _SEVERAL[future]

    def _note(self, target: cst.BaseExpression, kind: Kind | None) -> None:
        if isinstance(target, cst.Name):
            scope = self.source.scope(target)
            self._known.setdefault((scope, target.value), set()).add(kind)

    # -- what gives names their meaning -----------------------------------------------------

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        made = {self.decorates(decorator.decorator) for decorator in node.decorators}
        kind: Kind | None = None
        if "flow" in made:
            kind = "flow"
        elif "task" in made:
            kind = "task" if node.asynchronous is None else "async task"
        scope = self.source.scope(node)
        self._known.setdefault((scope, node.name.value), set()).add(kind)
        self._note_parameters(node)

    def _note_parameters(self, node: cst.FunctionDef) -> None:
        """Note what the parameters are, by their annotations or because a hook is called so."""
        run_type = self._hooks.run_type(node)
        given: list[Kind | None] = []
        if run_type is not None:
            given = [run_type, "flow run" if run_type == "flow" else "task run", "state"]
        parameters = [*node.params.posonly_params, *node.params.params]
        given = given if len(parameters) == len(given) else []
        for parameter in parameters:
            kind = given.pop(0) if given else None
            if parameter.annotation is not None:
                kind = self._annotated(parameter.annotation.annotation) or kind
            self._note(parameter.name, kind)
        for parameter in node.params.kwonly_params:
            self._note(parameter.name, None)

    def _annotated(self, annotation: cst.BaseExpression) -> Kind | None:
        if isinstance(annotation, cst.Subscript):
            (element, *_) = annotation.slice
            if dotted(annotation.value) in ("list", "List") and isinstance(
                element.slice, cst.Index
            ):
                return _several(self._annotated(element.slice.value))
            annotation = annotation.value

        return _ANNOTATED.get(self.source.ours(annotation) or "")

    def visit_Assign(self, node: cst.Assign) -> None:
        for target in node.targets:
            self._note(target.target, self.of(node.value))

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        kind = self._annotated(node.annotation.annotation)
        self._note(node.target, kind or (None if node.value is None else self.of(node.value)))

    def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        self._note(node.target, self.of(node.value))

    def visit_For(self, node: cst.For) -> None:
        self._note(node.target, _each(self.of(node.iter)))

    def visit_CompFor(self, node: cst.CompFor) -> None:
        self._note(node.target, _each(self.of(node.iter)))

    def visit_WithItem(self, node: cst.WithItem) -> None:
        if node.asname is not None:
            self._note(node.asname.name, self.of(node.item))


class _Hooks(cst.CSTVisitor):
    """Collects the functions that are hooks of flows, or of tasks."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds: Final = kinds
        self._listed: dict[str, Literal["flow", "task"]] = {}

    def visit_Call(self, node: cst.Call) -> None:
        made = self.kinds.decorates(node.func)
        for arg in node.args:
            if made is not None and arg.keyword is not None and arg.keyword.value in _HOOKS:
                match arg.value:
                    case cst.List(elements=elements) | cst.Tuple(elements=elements):
                        names = (dotted(element.value) for element in elements)
                        self._listed |= dict.fromkeys(filter(None, names), made)

    def run_type(self, node: cst.FunctionDef) -> Literal["flow", "task"] | None:
        """Return what a function is a hook of, if it is one."""
        for decorator in node.decorators:
            match decorator.decorator:
                case cst.Attribute(value=definition, attr=cst.Name(value=name)) if name in _HOOKS:
                    kind = self.kinds.of(definition)
                    if kind is not None and _runs(kind):
                        return "flow" if kind == "flow" else "task"

        return self._listed.get(node.name.value)


def _each(kind: Kind | None) -> Kind | None:
    return None if kind is None else _EACH.get(kind)


def _several(kind: Kind | None) -> Kind | None:
    return None if kind is None else _SEVERAL.get(kind)


def _runs(kind: Kind | None) -> bool:
    return kind in ("flow", "task", "async task")


def _has_function(node: cst.Call) -> bool:
    """Return whether a call of a decorator is given the function itself."""
    return any(arg.keyword is None or arg.keyword.value == "fn" for arg in node.args)


def _returns_state(node: cst.Call) -> bool:
    return any(
        arg.keyword is not None
        and arg.keyword.value == "return_state"
        and dotted(arg.value) == "True"
        for arg in node.args
    )
