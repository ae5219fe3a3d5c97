"""What of Prefect has a counterpart here: modules, names and settings, each with ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["MODULES", "NAMES", "RENAMED", "SETTINGS", "SYMBOLS", "Symbols"]


class Symbols(NamedTuple):
    """Names that keep their spelling, in a module of Prefect and in one of ours."""

    theirs: str
    ours: str
    names: tuple[str, ...]


def _symbols(theirs: str, ours: str, names: str) -> Symbols:
    return Symbols(theirs, ours, tuple(names.split()))


_STATES: Final = (
    "State StateType AwaitingRetry Cancelled Cancelling Completed Crashed Failed Late Paused "
    "Pending Retrying Running Scheduled Suspended get_state_exception raise_state_exception"
)

SYMBOLS: Final[tuple[Symbols, ...]] = (
    _symbols(
        "prefect",
        "eventflow",
        "Flow State Task allow_failure flow get_client get_run_logger runtime tags task unmapped",
    ),
    _symbols("prefect.flows", "eventflow.flows", "Flow flow"),
    _symbols("prefect.tasks", "eventflow.tasks", "Task exponential_backoff task task_input_hash"),
    _symbols("prefect.states", "eventflow.states", _STATES),
    _symbols("prefect.futures", "eventflow", "as_completed wait"),
    _symbols("prefect.utilities.annotations", "eventflow", "allow_failure opaque quote unmapped"),
    _symbols("prefect.runtime", "eventflow.runtime", "flow_run task_run"),
    _symbols(
        "prefect.context",
        "eventflow.context",
        "FlowRunContext TaskRunContext get_run_context tags",
    ),
    _symbols(
        "prefect.task_runners",
        "eventflow.runners",
        "ProcessPoolTaskRunner TaskRunner ThreadPoolTaskRunner",
    ),
    _symbols("prefect.logging", "eventflow", "get_run_logger"),
    _symbols(
        "prefect.logging.loggers", "eventflow", "flow_run_logger get_run_logger task_run_logger"
    ),
    _symbols("prefect.blocks.core", "eventflow.blocks.core", "Block"),
    _symbols("prefect.blocks.system", "eventflow.blocks.system", "JSON Secret String"),
    _symbols("prefect.blocks.notifications", "eventflow.blocks", "SlackWebhook"),
    _symbols("prefect.client", "eventflow.client", "get_client"),
    _symbols("prefect.client.orchestration", "eventflow.client", "get_client"),
    _symbols("prefect.client.schemas", "eventflow", "FlowRun State TaskRun"),
    _symbols("prefect.client.schemas.objects", "eventflow", "FlowRun State StateType TaskRun"),
    _symbols("prefect.settings", "eventflow.settings", "temporary_settings"),
    _symbols(
        "prefect.exceptions",
        "eventflow.errors",
        "CancelledRun ConfigurationError CrashedRun FailedRun InvalidNameError "
        "MappingLengthMismatch MappingMissingIterable MissingContextError ParameterBindError "
        "ParameterTypeError PausedRun ReservedArgumentError SignatureMismatchError "
        "TerminationSignal UnfinishedRun",
    ),
)
"""The names that are spelled alike."""

SETTINGS: Final[Mapping[str, str]] = {
    "PREFECT_API_URL": "EVENTFLOW_API_URL",
    "PREFECT_UI_URL": "EVENTFLOW_API_URL",
    "PREFECT_HOME": "EVENTFLOW_HOME",
    "PREFECT_LOGGING_LEVEL": "EVENTFLOW_LOG_LEVEL",
}
"""The settings, also where they are environment variables."""

RENAMED: Final[Mapping[str, str]] = {
    "prefect.__version__": "eventflow.__version__",
    "prefect.context.EngineContext": "eventflow.context.FlowRunContext",
    "prefect.futures.PrefectFuture": "eventflow.runs.Future",
    "prefect.futures.PrefectFutureList": "eventflow.runs.futures.FutureList",
    "prefect.task_runners.ConcurrentTaskRunner": "eventflow.runners.ThreadPoolTaskRunner",
    "prefect.client.orchestration.PrefectClient": "eventflow.client.Client",
    "prefect.exceptions.PrefectException": "eventflow.errors.EventflowError",
    "prefect.exceptions.ObjectNotFound": "eventflow.errors.BlockNotFoundError",
    "prefect.testing.utilities.prefect_test_harness": "eventflow.testing.isolated",
    **{f"prefect.settings.{theirs}": f"eventflow.settings.{o}" for theirs, o in SETTINGS.items()},
}
"""The names that are spelled in another way here."""

NAMES: Final[Mapping[str, str]] = {
    **{
        f"{group.theirs}.{name}": f"{group.ours}.{name}"
        for group in SYMBOLS
        for name in group.names
    },
    **RENAMED,
}
"""Every name of Prefect that has a counterpart, by its whole path."""

MODULES: Final[Mapping[str, str]] = {
    "prefect": "eventflow",
    "prefect.blocks": "eventflow.blocks",
    "prefect.blocks.core": "eventflow.blocks.core",
    "prefect.blocks.notifications": "eventflow.blocks.notifications",
    "prefect.blocks.system": "eventflow.blocks.system",
    "prefect.client": "eventflow.client",
    "prefect.client.orchestration": "eventflow.client",
    "prefect.client.schemas": "eventflow",
    "prefect.client.schemas.objects": "eventflow",
    "prefect.context": "eventflow.context",
    "prefect.exceptions": "eventflow.errors",
    "prefect.flows": "eventflow.flows",
    "prefect.futures": "eventflow.runs.futures",
    "prefect.logging": "eventflow.logs",
    "prefect.logging.loggers": "eventflow.logs",
    "prefect.runtime": "eventflow.runtime",
    "prefect.settings": "eventflow.settings",
    "prefect.states": "eventflow.states",
    "prefect.task_runners": "eventflow.runners",
    "prefect.tasks": "eventflow.tasks",
    "prefect.testing.utilities": "eventflow.testing",
    "prefect.utilities.annotations": "eventflow.runs",
}
"""The modules that a program may import whole."""
