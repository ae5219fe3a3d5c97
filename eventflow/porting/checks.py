"""What a source does that is done in another way here, and is left to its author."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import libcst as cst

from eventflow.client import Client
from eventflow.porting import gaps
from eventflow.porting.findings import Finding
from eventflow.porting.kinds import Kind, Kinds
from eventflow.porting.names import Source, dotted
from eventflow.porting.paths import SETTINGS
from eventflow.runs.run import FlowRun, TaskRun
from eventflow.runtime import flow_run, task_run

__all__ = ["Checks"]

_SETTING: Final = re.compile(r"PREFECT_[A-Z0-9_]+")
_PATH: Final = re.compile(r"prefect(_\w+)?(\.\w+)+")
_COMMAND: Final = re.compile(
    r"prefect (block|cloud|config|deploy(ment)?|flow-run|init|profile|server|work-pool|worker)\b"
)
_DEPLOYING: Final = frozenset({"adeploy", "afrom_source", "deploy", "from_source", "to_deployment"})
_OF_DEPLOYMENTS: Final = frozenset(
    {"cron", "entrypoint", "image", "interval", "rrule", "schedules", "work_pool_name"}
)
_FACTS: Final[Mapping[str, object]] = {
    "eventflow.runtime.flow_run.": type(flow_run),
    "eventflow.runtime.task_run.": type(task_run),
}
_RUNS: Final[Mapping[str, type]] = {"flow run": FlowRun, "task run": TaskRun}
_PLAIN_FUNCTIONS: Final = (
    "eventflow.states.get_state_exception",
    "eventflow.states.raise_state_exception",
    "eventflow.wait",
)
_FOR_ASYNC_CODE: Final = "The client is for async code: leave it out."
_ARGUMENTS: Final[Mapping[str, tuple[str, str]]] = {
    "eventflow.client.get_client": ("sync_client", _FOR_ASYNC_CODE),
    "eventflow.get_client": ("sync_client", _FOR_ASYNC_CODE),
    "eventflow.settings.temporary_settings": (
        "updates",
        "Give the settings as the first argument, without a keyword.",
    ),
    "eventflow.testing.isolated": ("server_startup_timeout", "There is no server: leave it out."),
}

_CLEARED: Final = "An empty list clears it here: leave it out to keep what the original has."
_DEFAULT: Final = "None gives the default here: leave it out to keep what the original has."
_WHOLE_MAPPING: Final = "A mapping is one item here: to map over its keys, give a list of them."
_WHOLE_MARK: Final = "What is marked is one item here: mark each item of a list, to map over it."
_MARKS: Final = ("eventflow.opaque", "eventflow.quote")
_AWAITED_RESULT: Final = (
    "`result()` of a state is a plain call: leave out `await`, or write `await state.aresult()`. "
    "Of a future, write `await future`."
)
_AWAITED_FUTURE: Final = "`await` the future itself, which gives the result."
_AWAITED_SUBMIT: Final = (
    "It returns at once, with futures: leave out `await`, which would give the results."
)
_AWAITED_PLAIN: Final = "It is a plain call: leave out `await`."
_BLOCKING: Final = (
    "This would wait for the event loop that it holds up: `await` the future, or the list of them."
)
_BLOCKING_LOOP: Final = "This would wait for the event loop that it holds up: write `async for`."


class Checks(cst.CSTVisitor):
    """Collects what is left to do, other than about imports; and strings that name settings."""

    def __init__(self, source: Source, kinds: Kinds) -> None:
        self.source: Final = source
        self.kinds: Final = kinds
        self.left: list[Finding] = []
        self.replaced: dict[cst.CSTNode, str] = {}
        source.module.visit(self)

    def _leave(self, node: cst.CSTNode, advice: str, at: cst.CSTNode | None = None) -> None:
        self.left.append(self.source.finding(node, advice, at))

    # -- options ----------------------------------------------------------------------------

    def visit_Call(self, node: cst.Call) -> None:
        options = self._options(node)
        argument, advice = _ARGUMENTS.get(self.source.ours(node.func) or "", ("", ""))
        for arg in node.args:
            name = "" if arg.keyword is None else arg.keyword.value
            if arg.keyword is not None and _SETTING.fullmatch(name):
                self._check_setting(arg.keyword, name)
            elif name and name == argument:
                self._leave(arg, advice)
            elif name and options and name not in options:
                self._leave(arg, gaps.advice_on_option(name))
            elif options and _is_copy(node):
                self._check_copy(arg)
        self._check_blocking(node)
        self._check_map(node)

    def _check_map(self, node: cst.Call) -> None:
        """See whether a task is mapped over what is one item here."""
        function = node.func
        if not (isinstance(function, cst.Attribute) and function.attr.value == "map"):
            return
        if self.kinds.of(function.value) not in ("task", "async task"):
            return
        for arg in node.args:
            if isinstance(arg.value, cst.Dict | cst.DictComp):
                self._leave(arg, _WHOLE_MAPPING)
            elif isinstance(arg.value, cst.Call) and self.source.ours(arg.value.func) in _MARKS:
                self._leave(arg, _WHOLE_MARK)

    def _check_copy(self, arg: cst.Arg) -> None:
        """See whether a copy of a definition loses what it would keep in Prefect."""
        if isinstance(arg.value, cst.List) and not arg.value.elements:
            self._leave(arg, _CLEARED)
        elif dotted(arg.value) == "None":
            self._leave(arg, _DEFAULT)

    def _options(self, node: cst.Call) -> frozenset[str]:
        """Return the options that a call may be given, if it makes a definition."""
        made = self.kinds.decorates(node.func)
        if made is not None:
            return gaps.OPTIONS[made]
        if _is_copy(node) and isinstance(node.func, cst.Attribute):
            kind = self.kinds.of(node.func.value)
            if kind in ("flow", "task", "async task"):
                return gaps.OPTIONS[kind.removeprefix("async ")]

        return frozenset()

    # -- attributes -------------------------------------------------------------------------

    def visit_Attribute(self, node: cst.Attribute) -> None:
        name = node.attr.value
        advice = self._advice_on_fact(node) or self._advice_on_method(node, name)
        if advice is not None:
            self._leave(node, advice, at=node.attr)

    def _advice_on_fact(self, node: cst.Attribute) -> str | None:
        path = self.source.ours(node) or ""
        for prefix, facts in _FACTS.items():
            name = path.removeprefix(prefix)
            if name != path and "." not in name and not hasattr(facts, name):
                return gaps.advice_on_fact(name)

        return None

    def _advice_on_method(self, node: cst.Attribute, name: str) -> str | None:
        kind = self.kinds.of(node.value)
        if self.kinds.is_flow_itself(node.value):
            kind = "flow"
        match kind:
            case "flow":
                return gaps.FLOW_METHODS.get(name)
            case "task" | "async task":
                return gaps.TASK_METHODS.get(name)
            case "client" if not hasattr(Client, name):
                return gaps.advice_on_name("prefect.client")
            case "flow run" | "task run" if not hasattr(_RUNS[kind], name):
                return gaps.advice_on_fact(name)
            case None if name in _DEPLOYING and self._is_deployed(node):
                return gaps.FLOW_METHODS[name]

        return gaps.ANY_METHODS.get(name)

    def _is_deployed(self, node: cst.Attribute) -> bool:
        call = self.source.parent(node)

        return isinstance(call, cst.Call) and any(
            arg.keyword is not None and arg.keyword.value in _OF_DEPLOYMENTS for arg in call.args
        )

    # -- waiting ----------------------------------------------------------------------------

    def visit_Await(self, node: cst.Await) -> None:
        call = node.expression
        if not isinstance(call, cst.Call):
            return
        if self.source.ours(call.func) in _PLAIN_FUNCTIONS:
            self._leave(node, _AWAITED_PLAIN)
        elif isinstance(call.func, cst.Attribute):
            advice = self._advice_on_await(self.kinds.of(call.func.value), call.func.attr.value)
            if advice is not None:
                self._leave(node, advice)

    def _advice_on_await(self, kind: Kind | None, method: str) -> str | None:
        match kind, method:
            case (("future" | "loop future" | "futures" | "loop futures"), ("result" | "wait")):
                return _AWAITED_FUTURE
            case (("state" | None), "result"):
                return _AWAITED_RESULT
            case (("task" | "async task"), ("submit" | "map")):
                return _AWAITED_SUBMIT

        return None

    def _check_blocking(self, node: cst.Call) -> None:
        """See whether a call waits for a future of the event loop that it is made on."""
        awaited: cst.BaseExpression | None = None
        if self.source.ours(node.func) == "eventflow.wait" and node.args:
            awaited = node.args[0].value
        elif isinstance(node.func, cst.Attribute) and node.func.attr.value in ("result", "wait"):
            awaited = node.func.value
        if (
            awaited is not None
            and self.kinds.of(awaited) in ("loop future", "loop futures")
            and self._is_on_loop(node)
            and not isinstance(self.source.parent(node), cst.Await)
        ):
            self._leave(node, _BLOCKING)

    def visit_For(self, node: cst.For) -> None:
        if node.asynchronous is None and self._is_on_loop(node):
            call = node.iter
            if (
                isinstance(call, cst.Call)
                and self.source.ours(call.func) == "eventflow.as_completed"
                and self.kinds.of(call) == "loop futures"
            ):
                self._leave(call, _BLOCKING_LOOP)

    def _is_on_loop(self, node: cst.CSTNode) -> bool:
        for around in self.source.parents(node):
            if isinstance(around, cst.FunctionDef):
                return around.asynchronous is not None
            if isinstance(around, cst.Lambda):
                return False

        return False

    # -- strings ----------------------------------------------------------------------------

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        text = node.raw_value
        if self._is_exported(node):
            return
        if _SETTING.fullmatch(text):
            self._check_setting(node, text, node.prefix + node.quote, node.quote)
        elif _PATH.fullmatch(text) or (text == "prefect" and self._is_logger(node)):
            self._leave(node, "It names something of Prefect: write the name that it has here.")
        elif _COMMAND.match(text) or (text == "prefect" and self._is_first(node)):
            self._leave(node, "The command line is another one: see `eventflow --help`.")

    def _check_setting(
        self, node: cst.CSTNode, name: str, before: str = "", after: str = ""
    ) -> None:
        if name in SETTINGS:
            self.replaced[node] = before + SETTINGS[name] + after
        else:
            self._leave(node, gaps.advice_on_setting(name))

    def _is_logger(self, node: cst.SimpleString) -> bool:
        """Return whether a string is what a logger is asked for by."""
        arg = self.source.parent(node)
        call = None if arg is None else self.source.parent(arg)

        return isinstance(call, cst.Call) and (dotted(call.func) or "").endswith("getLogger")

    def _is_first(self, node: cst.SimpleString) -> bool:
        """Return whether a string is the first of a list, as the program of a command is."""
        element = self.source.parent(node)
        around = None if element is None else self.source.parent(element)

        return isinstance(around, cst.List) and around.elements[0] is element

    def _is_exported(self, node: cst.SimpleString) -> bool:
        """Return whether a string is in `__all__`, where it names what the source itself has."""
        return any(
            isinstance(around, cst.Assign) and dotted(around.targets[0].target) == "__all__"
            for around in self.source.parents(node)
        )


def _is_copy(node: cst.Call) -> bool:
    return isinstance(node.func, cst.Attribute) and node.func.attr.value == "with_options"
