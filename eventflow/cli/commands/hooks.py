"""`eventflow hooks check`: which hooks cannot be guaranteed, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.text import Text

from eventflow.cli.display.tables import as_json, print_json, show_table
from eventflow.cli.targets import load, split
from eventflow.definitions.definition import Definition
from eventflow.eventbus.bus import current_bus
from eventflow.hooks.declaration import Hook
from eventflow.hooks.importability import import_problem
from eventflow.primitives.durations import in_words
from eventflow.values.annotations import parameter_problem
from eventflow.values.recording import ONLY_CLASS

__all__ = ["hooks"]


class _Checked(NamedTuple):
    """A hook, what it is declared on, and the reason if it cannot be guaranteed."""

    hook: Hook
    on: str
    why: str | None
    parameters: Mapping[str, str]
    """Those that do not come back after the death of the process, with the reason."""


@click.group()
def hooks() -> None:
    """Check which hooks are sure to run."""


@hooks.command("check")
@click.argument("source", metavar="FILE.py|MODULE")
@as_json
@click.pass_context
def check(ctx: click.Context, *, source: str, as_json: bool) -> None:
    """Import a file or a module, and say of each of its hooks whether it can be guaranteed.

    A hook that another process can import runs whatever ends its own process, and after a
    reboot. Any other survives the end of its process only where it can be handed to the guardian
    by value, and no reboot.

    A hook that is left to workers is run by them only if they can import it.

    Parameters that such a hook will not get in another process are named as well.

    Ends with 1 if there is a hook that cannot be guaranteed.
    """
    module = load(split(source))
    checked = list(_hooks_of(module))
    doubtful = [result for result in checked if result.why is not None]
    if as_json:
        print_json([_document(result) for result in checked])
    elif not checked:
        click.echo(f"{source} declares no hook.", err=True)
    else:
        _show(checked)
        _show_summary(checked, doubtful)
        _show_parameters(checked)
    ctx.exit(1 if doubtful else 0)


def _hooks_of(module: ModuleType) -> Iterator[_Checked]:
    seen: set[int] = set()
    for name, definition in _definitions_in(module):
        parameters = _lost_parameters(definition)
        for hook in definition.hooks:
            if id(hook) not in seen:
                seen.add(id(hook))
                yield _Checked(
                    hook, f"{definition.run_type} {name}", import_problem(hook), parameters
                )
    for subscription in current_bus().subscriptions:
        hook = subscription.hook
        if hook is not None:
            yield _Checked(hook, "every run", import_problem(hook), {})


def _definitions_in(module: ModuleType) -> Iterator[tuple[str, Definition[Any, Any]]]:
    """Yield the flows and tasks of a module, defined or imported, once each."""
    spaces: list[tuple[str, Any]] = [("", module)]
    seen: set[int] = set()
    while spaces:
        prefix, space = spaces.pop(0)
        for name, value in list(vars(space).items()):
            if isinstance(value, Definition) and id(value.origin) not in seen:
                seen.add(id(value.origin))
                yield prefix + value.name, value
            elif isinstance(value, type) and value.__module__ == module.__name__:
                spaces.append((f"{prefix}{name}.", value))


def _lost_parameters(definition: Definition[Any, Any]) -> dict[str, str]:
    """Return the parameters that will not come back in another process, with the reason."""
    hints, receiver = definition.parameters.hints, definition.parameters.receiver
    problems = {
        name: ONLY_CLASS if name == receiver else parameter_problem(name, hints.get(name, Any))
        for name in definition.parameters.names
    }

    return {name: problem for name, problem in problems.items() if problem is not None}


def _states(hook: Hook) -> str:
    if hook.overdue_seconds is not None:
        return f"overdue after {in_words(hook.overdue_seconds)}"
    states: Any = hook.state
    names = [states] if isinstance(states, str) else states or ["every state"]
    lasting = "" if hook.lasting is None else f" for {in_words(hook.lasting)}"
    where = ", by a worker" if hook.where == "worker" else ""

    return ", ".join(map(str, names)) + lasting + where


def _document(checked: _Checked) -> dict[str, Any]:
    return {
        "hook": checked.hook.id,
        "on": checked.on,
        "states": _states(checked.hook),
        "where": checked.hook.where,
        "guaranteed": checked.why is None,
        "why": checked.why,
        **({"parameters": checked.parameters} if checked.parameters else {}),
    }


def _show(checked: list[_Checked]) -> None:
    ascii_only = Console().options.ascii_only
    yes, no = ("ok", "no") if ascii_only else ("✓", "✗")
    show_table(
        ["", "Hook", "On", "States", "Why not"],
        [
            [
                Text(yes, "green") if result.why is None else Text(no, "red"),
                Text(result.hook.id, "" if result.why is None else "red"),
                result.on,
                _states(result.hook),
                result.why or "",
            ]
            for result in checked
        ],
    )


def _show_summary(checked: list[_Checked], doubtful: list[_Checked]) -> None:
    if not doubtful:
        every = "The one hook" if len(checked) == 1 else f"All {len(checked)} hooks"
        click.echo(f"\n{every} can be guaranteed.")
        return
    click.echo(
        f"\n{len(doubtful)} of {len(checked)} hooks cannot be guaranteed. They run in their own "
        "process, and after its end where they can be\nhanded to the guardian by value; never "
        "after a reboot."
    )
    if any(result.hook.where == "worker" for result in doubtful):
        click.echo("Those that are left to workers never run: no worker can import them.")


def _show_parameters(checked: list[_Checked]) -> None:
    lost = {result.on: result.parameters for result in checked if result.parameters}
    if lost:
        click.echo("\nParameters that a hook cannot have after the death of its process:")
    for definition, parameters in lost.items():
        for name, why in parameters.items():
            click.echo(f"  {definition}: {name}: {why}")
