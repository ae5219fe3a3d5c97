"""Every example runs as its reader would run it, against real parts: processes, files, HTTP."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from eventflow import Event, StateTransition, bus
from eventflow.blocks import SlackWebhook, String
from eventflow.errors import BlockNotFoundError, ParameterTypeError
from eventflow.testing import isolated

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PARTS = Path(__file__).parent / "examples"
API_URL = "https://flows.example.com"
SECONDS_AT_MOST = 60


@dataclass
class Ended:
    """What came of a script: its exit status, what it said, and the events it published."""

    status: int
    stdout: str
    stderr: str
    events: list[dict[str, Any]]

    def states(self, run_type: str) -> list[str]:
        """Give the names of the states that runs of this type entered, in order."""
        return [
            event["to_state"]["name"]
            for event in self.events
            if event.get("run_type") == run_type and "to_state" in event
        ]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Give the events of one type."""
        return [event for event in self.events if event["type"] == kind]


@dataclass
class World:
    """A home of its own, with a `gcloud` on the PATH that only writes down what it is asked."""

    folder: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("EVENTFLOW_")}
        self.environment = kept | {
            "HOME": str(self.folder),
            "EVENTFLOW_HOME": str(self.home),
            "EVENTFLOW_API_URL": API_URL,
            "GCLOUD_RECORD": str(self.folder / "gcloud.txt"),
            "PATH": f"{PARTS}{os.pathsep}{os.environ['PATH']}",
        }

    @property
    def home(self) -> Path:
        """Where the script keeps what it saves."""
        return self.folder / "home"

    def gcloud_calls(self) -> list[str]:
        """Give what `gcloud` was asked to do."""
        record = self.folder / "gcloud.txt"
        return record.read_text().splitlines() if record.exists() else []

    def run(self, script: str) -> Ended:
        """Run an example to its end, with warnings as errors."""
        # An example deletes things with whatever `gcloud` it finds: never a real one.
        assert shutil.which("gcloud", path=self.environment["PATH"]) == str(PARTS / "gcloud")
        record = self.folder / "events.jsonl"
        command = [sys.executable, "-W", "error", str(PARTS / "recorded.py"), str(record)]
        ended = subprocess.run(
            [*command, str(EXAMPLES / script)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_AT_MOST,
            check=False,
        )
        lines = record.read_text().splitlines() if record.exists() else []
        events = [json.loads(line) for line in lines]

        return Ended(ended.returncode, ended.stdout, ended.stderr, events)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Give a test a home, an environment and a recording `gcloud`."""
    return World(tmp_path)


# -- the short ones ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("01_hello.py", ["Hello, Ada!", "Hello, Grace!", "2 greeted"]),
        (
            "02_retries.py",
            [
                *("attempt 1", "attempt 2", "attempt 3"),
                *("fetch is Completed after 3 attempts", "<html>"),
            ],
        ),
        (
            "03_one_hook_many_transitions.py",
            [
                "divide(1, 0) is AwaitingRetry: Attempt 1 failed; the next begins in 0 s.",
                "divide(1, 0) is Failed: The body raised ZeroDivisionError: division by zero",
                "[0.5, 0.25]",
            ],
        ),
        ("06_own_events.py", ["Collecting invoice 7.", "Thank you for paying invoice 7."]),
        (
            "07_async_fan_out.py",
            ["200 pings of 0.1 s each took less than 10 s in all: True", "first: 0"],
        ),
        ("08_testing.py", ["Pending -> Running -> AwaitingRetry -> Retrying -> Completed"]),
        ("page_success_hook.py", ["Flow run succeeded!"]),
        ("page_flow_hook.py", []),
        (
            "page_several_hooks.py",
            [
                "Task run succeeded!",
                "If the task run succeeds or fails, this hook runs.",
                "Task run failed!",
                "If the task run succeeds or fails, this hook runs.",
            ],
        ),
    ],
)
def test_an_example_says_what_makes_its_point(world: World, script: str, said: list[str]) -> None:
    """The example ends well and prints exactly this."""
    ended = world.run(script)

    assert ended.status == 0, ended.stderr
    assert ended.stdout.splitlines() == said
    assert ended.stderr == ""


def test_the_listener_tells_of_every_task_and_then_of_every_flow_transition(world: World) -> None:
    """The second subscription sees the flow for as long as its block lasts."""
    ended = world.run("04_listener.py")

    assert ended.status == 0, ended.stderr
    first_words = [" ".join(line.split()[:2]) for line in ended.stdout.splitlines()]
    tasks = ["extract Completed", "load Completed"]
    begun = ["eventflow.flow-run.Pending", "eventflow.flow-run.Running"]
    assert first_words == [*tasks, "3", *begun, *tasks, "eventflow.flow-run.Completed"]


def test_the_stream_gives_every_event_in_order(world: World) -> None:
    """A flow with three tasks is read from Pending to Completed, and nothing is dropped."""
    ended = world.run("05_stream.py")

    assert ended.status == 0, ended.stderr
    step = ["0 eventflow.task-run.Pending", "1 eventflow.task-run.Running"]
    assert ended.stdout.splitlines() == [
        "0 eventflow.flow-run.Pending",
        "1 eventflow.flow-run.Running",
        *([*step, "2 eventflow.task-run.Completed"] * 3),
        "2 eventflow.flow-run.Completed",
        "3 with 0 events dropped",
    ]


def test_a_hook_of_a_killed_process_runs_in_another(world: World) -> None:
    """The guardian of the killed process loads the example again, up to its guard."""
    ended = world.run("09_survives_a_kill.py")

    assert ended.status == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].endswith(" is Crashed, says another process")


def test_what_must_happen_once_happens_once(world: World) -> None:
    """The first attempt fails after its row; only the row of the second one is there."""
    ended = world.run("10_exactly_once.py")

    assert ended.status == 0, ended.stderr
    assert ended.stdout.splitlines() == ["2 attempts, 1 booking"]


def test_every_example_is_tested() -> None:
    """A new example has to be mentioned here."""
    here = Path(__file__).read_text()

    assert [one.name for one in EXAMPLES.glob("*.py") if one.name not in here] == []


def test_the_numbered_examples_are_short() -> None:
    """Each is read at a glance, and begins by saying what it shows."""
    numbered = sorted(EXAMPLES.glob("[0-9]*.py"))

    assert len(numbered) == 10
    assert [one.name for one in numbered if one.read_text().count("\n") >= 40] == []
    assert all(one.read_text().startswith('"""') for one in numbered)


# -- the reference page -----------------------------------------------------------------------


def test_the_page_s_flow_hook_runs(world: World) -> None:
    """The hook of the bare signature says nothing, but it is delivered, once."""
    ended = world.run("page_flow_hook.py")

    outcomes = ended.of_kind("eventflow.hook.HookSucceeded")
    assert [(one["hook"], one["state_name"]) for one in outcomes] == [
        ("__main__:my_flow_hook", "Completed")
    ]


def test_the_page_s_task_hook_runs(world: World) -> None:
    """A failing task runs its hook, and its exception ends the script."""
    ended = world.run("page_task_hook.py")

    assert ended.status == 1
    assert ended.stderr.endswith("ValueError: oops!\n")
    outcomes = ended.of_kind("eventflow.hook.HookSucceeded")
    assert [(one["hook"], one["state_name"]) for one in outcomes] == [
        ("__main__:my_task_hook", "Failed")
    ]


class Slack(BaseHTTPRequestHandler):
    """An endpoint that keeps what it is sent, and answers as the test says."""

    protocol_version = "HTTP/1.1"
    received: ClassVar[list[tuple[str, str, Any]]]
    answer: ClassVar[int]
    released: ClassVar[threading.Event]

    def do_POST(self) -> None:
        """Take a notification; answer 0 stands for no answer at all."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        if not self.answer:
            self.released.wait(SECONDS_AT_MOST)
            self.close_connection = True
            return

        self.send_response(self.answer)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


@contextmanager
def slack(world: World, answer: int, **fields: float) -> Iterator[list[tuple[str, str, Any]]]:
    """Serve Slack on loopback, with the block that points there saved; gives what arrives."""
    received: list[tuple[str, str, Any]] = []
    released = threading.Event()
    ways = {"received": received, "answer": answer, "released": released}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneSlack", (Slack,), ways))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with isolated(world.home):
            url = f"http://127.0.0.1:{server.server_port}/services/T0/B0/token"
            SlackWebhook(url, **fields).save("my-slack-webhook")
        yield received
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_page_s_slack_message_arrives_once_after_the_retry(world: World) -> None:
    """The endpoint receives the page's text, with the run's own name, link, tags and start."""
    with slack(world, answer=200) as received:
        ended = world.run("page_notify_slack.py")

    assert ended.status == 1
    assert ended.stderr.endswith("ValueError: oops!\n")
    road = ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
    assert ended.states("flow") == road

    begun = ended.events[0]
    start = datetime.fromisoformat(begun["to_state"]["timestamp"])
    text = (
        f"Your job {begun['run_name']} entered Failed with message:\n\n"
        f"See <{API_URL}/flow-runs/flow-run/{begun['run_id']}|the flow run in the UI>\n\n"
        f"Tags: []\n\n"
        f"Scheduled start: {start}"
    )
    assert received == [("/services/T0/B0/token", "application/json", {"text": text})]
    assert len(ended.of_kind("eventflow.hook.HookSucceeded")) == 1


@pytest.mark.parametrize(
    ("answer", "fields", "reason"),
    [
        (500, {}, "it answered 500"),
        (0, {"timeout_seconds": 0.3}, "there was no answer within 0.3 s"),
    ],
    ids=["answers 500", "hangs"],
)
def test_a_slack_that_does_not_take_the_message_leaves_the_run_as_it_is(
    world: World, answer: int, fields: dict[str, float], reason: str
) -> None:
    """The hook fails, in bounded time and visibly; the run ends as it would have ended anyway."""
    with slack(world, answer, **fields) as received:
        ended = world.run("page_notify_slack.py")

    assert len(received) == 1
    assert ended.status == 1
    assert ended.stderr.endswith("ValueError: oops!\n")
    assert ended.states("flow")[-1] == "Failed"
    (failed,) = ended.of_kind("eventflow.hook.HookFailed")
    assert failed["error"]["type"].endswith("NotificationError")
    assert reason in failed["error"]["message"]
    assert "token" not in ended.stderr + json.dumps(ended.events)


def test_without_its_block_the_page_s_slack_hook_says_what_is_missing(world: World) -> None:
    """A reader who has not saved the block is told so, and the run still fails as it should."""
    ended = world.run("page_notify_slack.py")

    assert ended.status == 1
    assert ended.stderr.endswith("ValueError: oops!\n")
    assert "my-slack-webhook" in ended.of_kind("eventflow.hook.HookFailed")[0]["error"]["message"]


def test_the_page_s_crash_hook_deletes_the_job_and_its_block(world: World) -> None:
    """The async hook of a sync flow runs gcloud and the client, then SystemExit goes its way."""
    ended = world.run("page_delete_cloud_run_job.py")

    assert ended.status == 1
    assert ended.stderr.splitlines()[-1] == "Crashing on purpose!"
    assert ended.states("task") == ["Pending", "Running", "Crashed"]
    assert ended.states("flow") == ["Pending", "Running", "Crashed"]

    name = ended.events[0]["run_name"]
    assert world.gcloud_calls() == [f"gcloud beta run jobs delete {name} --region us-central1"], (
        ended.stderr
    )
    (outcome,) = ended.of_kind("eventflow.hook.HookSucceeded")
    assert outcome["hook"] == "__main__:delete_cloud_run_job"
    assert outcome["state_name"] == "Crashed"
    with isolated(world.home), pytest.raises(BlockNotFoundError):
        String.load("noisy-flow-cloud-run-job")


# -- the integrity audit ----------------------------------------------------------------------


@dataclass
class Site:
    """A site-packages of its own, with made-up distributions."""

    folder: Path

    def install(self, name: str, files: dict[str, bytes], *, recorded: bool = True) -> None:
        """Write a distribution and, unless told otherwise, its RECORD."""
        info = self.folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
        lines = [f"{info.name}/RECORD,,", f"{name}/__pycache__/code.cpython-311.pyc,,"]
        for place, content in {f"{info.name}/METADATA": metadata, **files}.items():
            path = self.folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            lines.append(line(place, content))
        if recorded:
            (info / "RECORD").write_text("\n".join(lines) + "\n")


def line(place: str, content: bytes, algorithm: str = "sha256") -> str:
    """Write a line of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest())
    return f'"{place}",{algorithm}={digest.rstrip(b"=").decode()},{len(content)}'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give a test an environment with two healthy distributions."""
    made = Site(tmp_path / "env" / "lib" / "python3" / "site-packages")
    made.install("alpha", {"alpha/code.py": b"x = 1\n", "../../../bin/alpha": b"#!/bin/sh\n"})
    made.install("beta", {"beta/code.py": b"y = 2\n", "beta/a,b.txt": b""})

    return made


@pytest.fixture(scope="module")
def audit() -> Iterator[ModuleType]:
    """Give the example as a module."""
    spec = importlib.util.spec_from_file_location(
        "integrity_audit", EXAMPLES / "integrity_audit.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def roads(events: list[Event]) -> dict[str, list[str]]:
    """Give the states that each task run entered."""
    found: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, StateTransition) and event.run_type == "task":
            found.setdefault(event.run_name, []).append(event.to_state.name)

    return found


ONCE = ["Pending", "Running"]
AGAIN = ["AwaitingRetry", "Retrying"]


def test_this_environment_passes_its_audit(world: World) -> None:
    """The environment of these tests is as it was installed, thousands of files of it."""
    ended = world.run("integrity_audit.py")

    assert ended.status == 0, ended.stderr
    assert "MB/s" in ended.stdout
    assert set(ended.states("flow")) == {"Pending", "Running", "Completed"}
    assert ended.states("task").count("Completed") > 10


def test_a_healthy_environment_passes(
    audit: ModuleType, site: Site, eventflow_events: list[Event]
) -> None:
    """Every file is counted and read once; compiled files and RECORD itself have no hash."""
    found = audit.integrity_audit(paths=[site.folder, site.folder])

    assert (found.distributions, found.files, found.without_hash) == (2, 6, 4)
    sizes = [one.stat().st_size for one in site.folder.glob("*.dist-info/METADATA")]
    assert found.bytes == sum(sizes) + 6 + 10 + 6
    assert found.not_verifiable == []
    assert roads(eventflow_events) == {
        "alpha": [*ONCE, "Completed"],
        "beta": [*ONCE, "Completed"],
    }


def test_a_tampered_and_a_deleted_file_are_found(
    audit: ModuleType,
    site: Site,
    eventflow_events: list[Event],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same size is no disguise; what stays away is looked for again and then missing."""
    tampered = site.folder / "alpha/code.py"
    tampered.write_bytes(b"x = 2\n")
    deleted = site.folder / "beta/code.py"
    deleted.unlink()

    with pytest.raises(audit.Damaged) as raised:
        audit.integrity_audit(paths=[site.folder])

    assert raised.value.found.changed == [f"{tampered}: another sha256"]
    assert raised.value.found.missing == [str(deleted)]
    assert str(raised.value).splitlines() == [
        "1 missing, 1 changed:",
        f"missing  {deleted}",
        f"changed  {tampered}: another sha256",
    ]
    assert raised.value.found.files == 6
    assert roads(eventflow_events) == {
        "alpha": [*ONCE, "Failed"],
        "beta": [*ONCE, *AGAIN, *AGAIN, "Failed"],
    }
    said = [record.getMessage() for record in caplog.records]
    assert any(str(tampered) in one for one in said)
    assert "beta is AwaitingRetry after attempt 2" in said
    assert "beta is Failed after attempt 3" in said
    assert "alpha is Failed after attempt 1" in said


def test_a_file_that_vanishes_while_it_is_read_and_comes_back_is_no_damage(
    audit: ModuleType,
    site: Site,
    eventflow_events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file goes away right before it is opened and is back for the second attempt."""
    path = site.folder / "beta/code.py"
    content = path.read_bytes()
    check: Callable[..., int] = audit.check
    gone: list[Path] = []

    def vanishing(file: Path, *stated: str) -> int:
        if file == path and not gone:
            gone.append(file)
            file.unlink()

        return check(file, *stated)

    def put_back(event: StateTransition) -> None:
        path.write_bytes(content)

    monkeypatch.setattr(audit, "check", vanishing)
    with bus.subscribe(put_back, run_type="task", state="AwaitingRetry"):
        found = audit.integrity_audit(paths=[site.folder])

    assert gone == [path]
    assert (found.files, found.missing, found.changed) == (6, [], [])
    assert roads(eventflow_events)["beta"] == [*ONCE, *AGAIN, "Completed"]


@pytest.mark.parametrize(("damage", "status"), [(False, 0), (True, 1)])
def test_the_command_of_the_readme_audits_any_environment(
    world: World, site: Site, damage: bool, status: int
) -> None:
    """The exit status says whether all is well, and the damage is named on the way."""
    path = site.folder / "alpha/code.py"
    if damage:
        path.write_bytes(b"x = 2\n")
    target = f"{EXAMPLES / 'integrity_audit.py'}:integrity_audit"
    ended = subprocess.run(
        [sys.executable, "-m", "eventflow.cli", "run", target, "--paths", str(site.folder)],
        cwd=world.folder,
        env=world.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_AT_MOST,
        check=False,
    )

    assert ended.returncode == status, ended.stderr
    assert "2 distributions, 6 files" in ended.stdout
    assert (f"changed  {path}: another sha256" in ended.stderr) is damage


@pytest.mark.usefixtures("eventflow_isolated")
def test_a_distribution_without_a_record_is_named_and_not_blamed(
    audit: ModuleType, site: Site
) -> None:
    """What has no RECORD cannot be verified, and that is said."""
    site.install("gamma", {"gamma.py": b""}, recorded=False)

    found = audit.integrity_audit(paths=[site.folder])

    assert (found.distributions, found.not_verifiable) == (3, ["gamma"])


@pytest.mark.usefixtures("eventflow_isolated")
@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("odd/code.py,sha256=AAAA,7", "6 bytes, not 7"),
        ("odd/code.py,sha256=AAAA,6", "another sha256"),
        ("odd/code.py,sha999=AAAA,6", "sha999"),
        ("odd/code.py,sha256=AAAA,many", "many"),
        ("odd,sha256=AAAA,6", "directory"),
    ],
    ids=["size", "hash", "algorithm", "number", "folder"],
)
def test_whatever_does_not_fit_its_record_is_listed_with_the_reason(
    audit: ModuleType, site: Site, written: str, reason: str
) -> None:
    """A RECORD that was itself tampered with is damage like any other."""
    site.install("odd", {"odd/code.py": b"z = 3\n"})
    (site.folder / "odd-1.0.dist-info/RECORD").write_text(f"{written}\n")

    with pytest.raises(audit.Damaged, match=reason) as raised:
        audit.integrity_audit(paths=[site.folder], only="odd")

    assert len(raised.value.found.changed) == 1


@pytest.mark.usefixtures("eventflow_isolated")
def test_the_hash_is_the_one_that_record_names(audit: ModuleType, site: Site) -> None:
    """A file may be recorded with any hash that Python knows."""
    site.install("odd", {"odd/code.py": b"z = 3\n"})
    record = site.folder / "odd-1.0.dist-info/RECORD"
    record.write_text(line("odd/code.py", b"z = 3\n", "sha512"))

    assert audit.integrity_audit(paths=[site.folder], only="odd").files == 1


@pytest.mark.usefixtures("eventflow_isolated")
def test_only_what_is_asked_for_is_audited(audit: ModuleType, site: Site) -> None:
    """A pattern chooses the distributions, and one worker is enough for any number of them."""
    found = audit.integrity_audit(paths=[str(site.folder)], only="be*", workers="1")

    assert found.distributions == 1


@pytest.mark.usefixtures("eventflow_isolated")
def test_an_audit_of_nothing_is_an_error(audit: ModuleType, site: Site, tmp_path: Path) -> None:
    """A slip in a name or a path must not look like a clean bill of health."""
    with pytest.raises(ValueError, match="No distribution is named like 'nope'"):
        audit.integrity_audit(paths=[site.folder], only="nope")

    with pytest.raises(ParameterTypeError, match="paths"):
        audit.integrity_audit(paths=[tmp_path / "nowhere"])

    with pytest.raises(ParameterTypeError, match="workers"):
        audit.integrity_audit(paths=[site.folder], workers=0)
