"""What `import eventflow` does, and leaves for later: nothing is started, little is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest

import eventflow

ROOT = Path(__file__).parent.parent

# Imported when they are needed, never with the package or a public name of it: each costs more
# than the package itself.
SLOW = {
    "apprise",
    "click",
    "concurrent.futures.process",
    "cryptography",
    "email",
    "http",
    "httpx",
    "libcst",
    "multiprocessing",
    "psycopg",
    "pytest",
    "rich",
    "sqlite3",
    "tomllib",
    "unittest",
}

# What only a run needs, a hook on a bus, or a program that asks for it by name.
OF_RUNS = {
    "eventflow.blocks",
    "eventflow.blockstore",
    "eventflow.client",
    "eventflow.context",
    "eventflow.engine.drivers",
    "eventflow.eventbus.bus",
    "eventflow.events",
    "eventflow.hooks.receiver",
    "eventflow.interrupts",
    "eventflow.journal",
    "eventflow.logs",
    "eventflow.notifications",
    "eventflow.owners",
    "eventflow.recovery",
    "eventflow.runs",
    "eventflow.runtime",
    "eventflow.states.state",
    "eventflow.testing",
    "eventflow.tracing",
    "eventflow.values.encoding",
    "eventflow.values.restoring",
    "ctypes",
    "pydantic.main",
    "uuid_utils",
}

# What a program needs only once it defines something, or asks for a public name.
OF_DEFINITIONS = {
    "difflib",
    "eventflow.definitions",
    "eventflow.engine",
    "eventflow.errors",
    "eventflow.eventbus",
    "eventflow.flows",
    "eventflow.hooks",
    "eventflow.primitives.texts",
    "eventflow.runners",
    "eventflow.settings",
    "eventflow.states",
    "eventflow.tasks",
    "eventflow.values",
    "eventflow.wiring",
}

# These run in a fresh interpreter, and print what the import of eventflow did.
WATCH_LOADING = """
import json, sys
import anyio, blinker, pydantic, structlog

before = set(sys.modules)

def loaded():
    return sorted(set(sys.modules) - before)

def models(kind):
    for model in kind.__subclasses__():
        yield f"{model.__module__}.{model.__qualname__}"
        yield from models(model)

import eventflow
imported = loaded()
from eventflow import flow, hook, task

@task(retries=2, tags=["nightly"], task_run_name="work-{number}")
def work(number: int):
    pass

@flow(on_completion=[print])
def program():
    work(1)

@program.on("Failed", "Crashed")
async def note(flow, run, state):
    pass

program.with_options(name="copy")

class Report:
    @task
    def write(self):
        pass

Report().write
defined = loaded()
# Asked for last: looking at BaseModel imports the module of it.
built = sorted({name for name in models(pydantic.BaseModel) if name.startswith("eventflow.")})
print(json.dumps({"imported": imported, "built": built, "defined": defined}))
"""

# The dependencies are imported, and put to use, before the watch begins: what they do on their own
# account is not ours. Every public name is used, as each is loaded on its first use.
WATCH_DEEDS = """
import json, os, signal, sys, threading
import anyio, blinker, pydantic, structlog, uuid_utils

class Model(pydantic.BaseModel, frozen=True):
    field: int | None = None

Model().model_dump_json()
structlog.get_logger()

watched = (
    "socket.", "_thread.start", "subprocess.", "sqlite3.", "fcntl.",
    "os.fork", "os.posix_spawn", "os.exec", "os.system",
    "os.mkdir", "os.remove", "os.rename", "os.truncate", "os.chmod", "os.symlink", "os.link",
)
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
deeds = []

def watch(event, arguments):
    if event.startswith(watched) or (event == "open" and (arguments[2] or 0) & writing):
        deeds.append(f"{event} {arguments!r}")

def handlers():
    return [signal.getsignal(number) for number in signal.valid_signals()]

before = set(sys.modules)
held = handlers()
threads = threading.active_count()
sys.addaudithook(watch)
from eventflow import *
done = list(deeds)
print(json.dumps({
    "deeds": done,
    "threads": threading.active_count() - threads,
    "took_signals": handlers() != held,
    "modules": sorted(set(sys.modules) - before),
}))
"""

# Each name for the first time, all at once: several of them are in a package and a module of it.
USE_NAMES = """
import threading
import eventflow

meet = threading.Barrier(len(eventflow.__all__))
failed = []

def use(name):
    meet.wait(60)
    try:
        getattr(eventflow, name)
    except BaseException as error:
        failed.append((name, error))

threads = [threading.Thread(target=use, args=(name,)) for name in eventflow.__all__]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failed)
"""

# The first calls of a program, at once with imports of what these load.
FIRST_CALLS = """
import threading
from eventflow import flow, hook, task

@task
def work():
    return 1

@flow
def outer():
    return work(), work.submit().result(), work.map.__name__

@flow
def items():
    yield 1

@flow(on_completion=[lambda *_: None])
async def other():
    return 1

def run_other():
    import asyncio
    assert asyncio.run(other()) == 1

def declare():
    @hook(state="Failed")
    def note(flow, run, state):
        pass

def import_events():
    from eventflow.events import StateTransition

def import_states():
    from eventflow.states import Completed
    import eventflow.runs

def import_bus():
    from eventflow.eventbus import EventBus
    import eventflow.journal.recorder

deeds = [work, outer, lambda: list(items()), run_other, declare]
deeds += [import_events, import_states, import_bus]
meet = threading.Barrier(len(deeds))
failed = []

def do(deed):
    meet.wait(60)
    try:
        deed()
    except BaseException as error:
        failed.append((deed, error))

threads = [threading.Thread(target=do, args=(deed,)) for deed in deeds]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failed)
"""

USE_MODULES = """
import eventflow

eventflow.states.Completed(message="done")
assert eventflow.runtime.flow_run.id is None
assert eventflow.errors.EventflowError
print("found")
"""


class Loaded(TypedDict):
    """What was loaded in a fresh interpreter, beyond the dependencies."""

    imported: list[str]
    """The modules, by `import eventflow`."""
    defined: list[str]
    """The modules, when flows, tasks and hooks of theirs had been defined."""
    built: list[str]
    """The pydantic models, by all of that."""


class Watched(TypedDict):
    """What the import of every public name did in a fresh interpreter."""

    deeds: list[str]
    threads: int
    took_signals: bool
    modules: list[str]


def run_watch(script: str, home: Path) -> str:
    """Run a script in a fresh interpreter; return what it printed."""
    # Coverage would measure, and thereby do, things of its own in there.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "EVENTFLOW_"))}
    ended = subprocess.run(
        [sys.executable, "-B", "-c", script],
        cwd=ROOT,
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert list(home.iterdir()) == []

    return ended.stdout


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    result: Loaded = json.loads(run_watch(WATCH_LOADING, tmp_path_factory.mktemp("home")))

    return result


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    result: Watched = json.loads(run_watch(WATCH_DEEDS, tmp_path_factory.mktemp("home")))

    return result


def test_importing_and_defining_build_no_model(loaded: Loaded) -> None:
    assert loaded["built"] == []


def test_importing_brings_in_nothing_that_is_not_asked_for(loaded: Loaded) -> None:
    assert (OF_DEFINITIONS | OF_RUNS).intersection(loaded["imported"]) == set()


def test_defining_brings_in_nothing_that_only_a_run_needs(loaded: Loaded) -> None:
    """But everything of the definitions: the list of those names modules that there are."""
    assert OF_RUNS.intersection(loaded["defined"]) == set()
    assert set(loaded["defined"]) >= OF_DEFINITIONS


@pytest.mark.parametrize("round", range(3))
def test_threads_may_use_names_for_the_first_time_at_once(round: int, tmp_path: Path) -> None:
    assert run_watch(USE_NAMES, tmp_path).strip() == "[]"


@pytest.mark.parametrize("round", range(3))
def test_threads_may_make_their_first_calls_at_once(round: int, tmp_path: Path) -> None:
    """Each loads the engine, and some of them import a part of it meanwhile."""
    script = f"import os\nos.environ['EVENTFLOW_DURABILITY'] = 'off'\n{FIRST_CALLS}"
    assert run_watch(script, tmp_path).strip() == "[]"


def test_a_public_module_is_an_attribute(tmp_path: Path) -> None:
    """Without an import of its own, as its names are."""
    assert run_watch(USE_MODULES, tmp_path).strip() == "found"


def test_a_name_is_the_one_of_its_module() -> None:
    assert eventflow.flow is eventflow.flows.flow
    assert vars(eventflow)["flow"] is eventflow.flow


def test_every_public_name_is_listed() -> None:
    assert set(eventflow.__all__) <= set(dir(eventflow))


@pytest.mark.parametrize("name", ["flows_", "__wrapped__", "_nothing"])
def test_another_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'eventflow' has no attribute '{name}'"):
        getattr(eventflow, name)


def test_public_names_touch_no_file_socket_or_process(watched: Watched) -> None:
    assert watched["deeds"] == []


def test_public_names_take_no_signal(watched: Watched) -> None:
    assert not watched["took_signals"]


def test_public_names_start_no_thread(watched: Watched) -> None:
    assert watched["threads"] == 0


def test_public_names_bring_in_nothing_slow(watched: Watched) -> None:
    assert SLOW.intersection(watched["modules"]) == set()
