"""What of Prefect has no counterpart here, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventflow.flows import FlowOptions
from eventflow.tasks import TaskOptions

__all__ = [
    "ANY_METHODS",
    "FLOW_METHODS",
    "OPTIONS",
    "TASK_METHODS",
    "advice_on_fact",
    "advice_on_name",
    "advice_on_option",
    "advice_on_setting",
]

_NO_DEPLOYMENT: Final = (
    "There are no deployments: start the program with cron, systemd or a container, as in "
    "`eventflow run FILE.py:FLOW --PARAMETER VALUE`."
)
_NO_SCHEDULE: Final = "Nothing is scheduled here: cron or a systemd timer starts `eventflow run`."
_NO_INFRASTRUCTURE: Final = (
    "A flow runs where it is called: what the work pool, worker or image provided is now given to "
    "the process that calls it."
)
_NO_RESULT_STORAGE: Final = (
    "Results are kept in memory, for the life of the process: write what must outlive it to a "
    "file or a database in the body."
)
_NO_CACHE_POLICY: Final = (
    "Nothing is cached without `cache_key_fn`: leave out NO_CACHE; for INPUTS write "
    "`cache_key_fn=task_input_hash` (from eventflow.tasks), for another policy a function that "
    "returns the key."
)
_NO_TRANSACTION: Final = (
    "There are no transactions over tasks: undo what was done in `on_failure` and `on_crashed` "
    "hooks, or in `except` and `finally`."
)
_NO_PAUSE: Final = (
    "A run cannot wait to be resumed: end the flow here, and call another one when it may go on."
)
_NO_EVENT_SERVER: Final = (
    "Subclass `eventflow.Event` and `bus.publish` it; `bus.subscribe` and hooks react to it in "
    "this process."
)
_NO_ARTIFACT: Final = "There are no artifacts: write a file, or log the text."
_NO_VARIABLE: Final = (
    "There are no variables: save a block, `JSON(value).save(name)`, or read the environment."
)
_NO_LIMIT: Final = (
    "There are no global limits: `ThreadPoolTaskRunner(max_workers=…)` bounds the tasks of a flow, "
    "a semaphore whatever it is held around."
)
_NO_SERVER: Final = "There is no server: leave it out."
_NO_API: Final = (
    "There is no API: `eventflow.client.get_client()` reads runs, events, deliveries and blocks "
    "from the journal, and cancels runs."
)
_ONE_PATH: Final = "Read it as an attribute: `from eventflow.runtime import flow_run, task_run`."

_NAMES: Final[Mapping[str, str]] = {
    "prefect": "It has no counterpart here: do without it.",
    "prefect.Transaction": _NO_TRANSACTION,
    "prefect.aserve": _NO_DEPLOYMENT,
    "prefect.artifacts": _NO_ARTIFACT,
    "prefect.assets": "There are no assets: write `@task`, and note what was made in its body.",
    "prefect.automations": _NO_EVENT_SERVER,
    "prefect.blocks": "Subclass `eventflow.blocks.Block` with the fields that you use.",
    "prefect.blocks.notifications": (
        "Use `Notify(urls=[…])` of eventflow.blocks with the URL that apprise has for the service."
    ),
    "prefect.blocks.webhook": "Call httpx in a task, with the URL in a `Secret`.",
    "prefect.cache_policies": _NO_CACHE_POLICY,
    "prefect.client": _NO_API,
    "prefect.cloud": _NO_SERVER,
    "prefect.concurrency": _NO_LIMIT,
    "prefect.context": "Use `get_run_context()`, `FlowRunContext.get()` or `TaskRunContext.get()`.",
    "prefect.deploy": _NO_DEPLOYMENT,
    "prefect.deployments": _NO_DEPLOYMENT,
    "prefect.docker": _NO_INFRASTRUCTURE,
    "prefect.engine": _NO_SERVER,
    "prefect.events": _NO_EVENT_SERVER,
    "prefect.exceptions": "eventflow.errors has the errors that are raised here.",
    "prefect.filesystems": _NO_RESULT_STORAGE,
    "prefect.flow_engine": "Call the flow itself.",
    "prefect.flow_runs": _NO_PAUSE,
    "prefect.flow_runs.wait_for_flow_run": (
        "`bus.wait_for(run_id=…)` waits in the process of the run; `get_client()` reads its state."
    ),
    "prefect.get_cloud_client": _NO_SERVER,
    "prefect.infrastructure": _NO_INFRASTRUCTURE,
    "prefect.input": _NO_PAUSE,
    "prefect.locking": _NO_RESULT_STORAGE,
    "prefect.logging": "Use `get_run_logger()`, or `logging.getLogger()` outside of runs.",
    "prefect.pause_flow_run": _NO_PAUSE,
    "prefect.results": _NO_RESULT_STORAGE,
    "prefect.resume_flow_run": _NO_PAUSE,
    "prefect.runner": _NO_DEPLOYMENT,
    "prefect.runtime.deployment": _NO_DEPLOYMENT,
    "prefect.runtime.flow_run": _ONE_PATH,
    "prefect.runtime.task_run": _ONE_PATH,
    "prefect.schedules": _NO_SCHEDULE,
    "prefect.serializers": _NO_RESULT_STORAGE,
    "prefect.serve": _NO_DEPLOYMENT,
    "prefect.server": _NO_SERVER,
    "prefect.settings": "eventflow.settings has the settings that there are.",
    "prefect.states": "eventflow.states has the states that there are.",
    "prefect.suspend_flow_run": _NO_PAUSE,
    "prefect.task_engine": "Call the task itself.",
    "prefect.task_runners": (
        "Submitted tasks run in threads, `ThreadPoolTaskRunner(max_workers=…)`, in processes, "
        "`ProcessPoolTaskRunner(max_workers=…)`, or on any executor, `ExecutorTaskRunner(…)`."
    ),
    "prefect.task_worker": (
        "There is no task worker: `submit` the task in a flow, or send the work through a broker."
    ),
    "prefect.testing": "Use `isolated()` and `capture_events()` of eventflow.testing.",
    "prefect.transactions": _NO_TRANSACTION,
    "prefect.utilities": "Copy the function, or use what the standard library or anyio has.",
    "prefect.variables": _NO_VARIABLE,
    "prefect.worker": _NO_INFRASTRUCTURE,
    "prefect.workers": _NO_INFRASTRUCTURE,
}

_INTEGRATION: Final = (
    "Integrations of Prefect do not work here: use the library behind it in a task, and keep its "
    "configuration in a `Block` of your own."
)

_SETTINGS: Final[Mapping[str, str]] = {
    "PREFECT_API_DATABASE_CONNECTION_URL": (
        "Set EVENTFLOW_JOURNAL_URL, to `sqlite:///…` or `postgresql://…` without a driver's name."
    ),
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": (
        "Set EVENTFLOW_JOURNAL_URL, to `sqlite:///…` or `postgresql://…` without a driver's name."
    ),
    "PREFECT_FLOW_DEFAULT_RETRIES": "Give each flow `retries=…`.",
    "PREFECT_FLOWS_DEFAULT_RETRIES": "Give each flow `retries=…`.",
    "PREFECT_TASK_DEFAULT_RETRIES": "Give each task `retries=…`.",
    "PREFECT_TASKS_DEFAULT_RETRIES": "Give each task `retries=…`.",
    "PREFECT_LOGGING_LOG_PRINTS": "Give each flow `log_prints=True`.",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "Configure `logging` yourself: it is the standard library's.",
    "PREFECT_LOGGING_SETTINGS_PATH": "Configure `logging` yourself: it is the standard library's.",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": _NO_RESULT_STORAGE,
    "PREFECT_TASK_RUNNER_THREAD_POOL_MAX_WORKERS": (
        "Give the flow `task_runner=ThreadPoolTaskRunner(max_workers=…)`."
    ),
}

_OPTIONS: Final[Mapping[str, str]] = {
    "asset_deps": "There are no assets: leave it out.",
    "cache_policy": _NO_CACHE_POLICY,
    "cache_result_in_memory": "Leave it out: results are kept in memory, for the process.",
    "on_commit": _NO_TRANSACTION,
    "on_rollback": _NO_TRANSACTION,
    "persist_result": _NO_RESULT_STORAGE,
    "result_serializer": _NO_RESULT_STORAGE,
    "result_storage": _NO_RESULT_STORAGE,
    "result_storage_key": _NO_RESULT_STORAGE,
    "viz_return_value": "Nothing is drawn here: leave it out.",
}

OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "flow": frozenset({"fn", *FlowOptions.__optional_keys__}),
    "task": frozenset({"fn", *TaskOptions.__optional_keys__}),
}
"""The options that there are, of flows and of tasks."""

FLOW_METHODS: Final[Mapping[str, str]] = {
    "adeploy": _NO_DEPLOYMENT,
    "afrom_source": _NO_DEPLOYMENT,
    "ato_deployment": _NO_DEPLOYMENT,
    "deploy": _NO_DEPLOYMENT,
    "from_source": _NO_DEPLOYMENT,
    "serve": _NO_DEPLOYMENT,
    "to_deployment": _NO_DEPLOYMENT,
    "visualize": "Nothing is drawn here: leave it out.",
}
"""The methods of a flow that there are not."""

TASK_METHODS: Final[Mapping[str, str]] = {
    "apply_async": _NAMES["prefect.task_worker"],
    "delay": _NAMES["prefect.task_worker"],
    "on_commit": _NO_TRANSACTION,
    "on_rollback": _NO_TRANSACTION,
    "serve": _NAMES["prefect.task_worker"],
}
"""The methods of a task that there are not."""

ANY_METHODS: Final[Mapping[str, str]] = {
    "register_type_and_schema": "A class of block needs no registration: leave it out.",
}
"""The methods that nothing else has, whatever they are called on."""

_FACTS: Final[Mapping[str, str]] = {
    "api_url": "There is no API: `ui_url` is the address of the run's page.",
    "deployment_id": _NO_DEPLOYMENT,
    "flow_id": "A flow has no id: `flow_name` names it.",
    "job_variables": _NO_INFRASTRUCTURE,
    "parent_deployment_id": _NO_DEPLOYMENT,
    "parent_task_run_id": "`parent_run_id` is the id of the run around it, of a flow or a task.",
    "state_id": "Read `state.id`.",
    "task_key": "`task_name` names the task.",
    "work_pool_name": _NO_INFRASTRUCTURE,
    "work_queue_name": _NO_INFRASTRUCTURE,
}


def advice_on_name(path: str) -> str:
    """Return what to do about a name of Prefect, or of an integration, given its whole path."""
    if path.partition(".")[0] != "prefect":
        return _INTEGRATION
    if path.startswith("prefect.settings.PREFECT_"):
        return advice_on_setting(path.split(".")[2])
    while path not in _NAMES:
        path = path.rpartition(".")[0]

    return _NAMES[path]


def advice_on_setting(name: str) -> str:
    """Return what to do about a setting of Prefect that has no counterpart."""
    if name.startswith("PREFECT__RUNTIME__"):
        return "Runs have no such variables for tests: call the flow itself, under `isolated()`."

    return _SETTINGS.get(name, "There is no such setting here: leave it out.")


def advice_on_fact(name: str) -> str:
    """Return what to do about a fact of a run that there is not."""
    return _FACTS.get(name, "A run has no such fact here: do without it.")


def advice_on_option(name: str) -> str:
    """Return what to do about an option of a flow or a task that there is not."""
    return _OPTIONS.get(name, "There is no such option here: leave it out.")
