"""The integrity audit detects what is missing or changed in an environment, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from eventflow import Event, StateTransition, bus
from eventflow.errors import ParameterTypeError
from tests.examples.sandbox import EXAMPLES, Sandbox


@dataclass
class Site:
    """A site-packages folder with made-up distributions."""

    folder: Path

    def install(self, name: str, files: dict[str, bytes], *, recorded: bool = True) -> None:
        """Write a distribution and, by default, its RECORD."""
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
    """Return an environment with two undamaged distributions."""
    site = Site(tmp_path / "env" / "lib" / "python3" / "site-packages")
    site.install("alpha", {"alpha/code.py": b"x = 1\n", "../../../bin/alpha": b"#!/bin/sh\n"})
    site.install("beta", {"beta/code.py": b"y = 2\n", "beta/a,b.txt": b""})

    return site


@pytest.fixture(scope="module")
def audit() -> Iterator[ModuleType]:
    """Load the example as a module."""
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


def states_of_tasks(events: list[Event]) -> dict[str, list[str]]:
    """Return the states that each task run entered, by its name."""
    states: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, StateTransition) and event.run_type == "task":
            states.setdefault(event.run_name, []).append(event.to_state.name)

    return states


STARTED = ["Pending", "Running"]
RETRIED = ["AwaitingRetry", "Retrying"]


def test_this_environment_passes_its_audit(sandbox: Sandbox) -> None:
    """The thousands of files of the environment that runs these tests are undamaged."""
    result = sandbox.run("integrity_audit.py")

    assert result.status == 0, result.stderr
    assert "MB/s" in result.stdout
    assert set(result.states("flow")) == {"Pending", "Running", "Completed"}
    assert result.states("task").count("Completed") > 10


def test_a_healthy_environment_passes(
    audit: ModuleType, site: Site, eventflow_events: list[Event]
) -> None:
    """Every file is counted and read once; compiled files and RECORD itself have no hash."""
    report = audit.integrity_audit(paths=[site.folder, site.folder])

    assert (report.distributions, report.files, report.without_hash) == (2, 6, 4)
    sizes = [path.stat().st_size for path in site.folder.glob("*.dist-info/METADATA")]
    assert report.bytes == sum(sizes) + 6 + 10 + 6
    assert report.not_verifiable == []
    assert states_of_tasks(eventflow_events) == {
        "alpha": [*STARTED, "Completed"],
        "beta": [*STARTED, "Completed"],
    }


def test_a_tampered_and_a_deleted_file_are_reported(
    audit: ModuleType,
    site: Site,
    eventflow_events: list[Event],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file of the same size is hashed; a missing file is retried before it is reported."""
    tampered = site.folder / "alpha/code.py"
    tampered.write_bytes(b"x = 2\n")
    deleted = site.folder / "beta/code.py"
    deleted.unlink()

    with pytest.raises(audit.Damaged) as raised:
        audit.integrity_audit(paths=[site.folder])

    assert raised.value.report.changed == [f"{tampered}: another sha256"]
    assert raised.value.report.missing == [str(deleted)]
    assert str(raised.value).splitlines() == [
        "1 missing, 1 changed:",
        f"missing  {deleted}",
        f"changed  {tampered}: another sha256",
    ]
    assert raised.value.report.files == 6
    assert states_of_tasks(eventflow_events) == {
        "alpha": [*STARTED, "Failed"],
        "beta": [*STARTED, *RETRIED, *RETRIED, "Failed"],
    }
    messages = [record.getMessage() for record in caplog.records]
    assert any(str(tampered) in message for message in messages)
    assert "beta is AwaitingRetry after attempt 2" in messages
    assert "beta is Failed after attempt 3" in messages
    assert "alpha is Failed after attempt 1" in messages


def test_a_file_that_is_missing_for_a_moment_is_no_damage(
    audit: ModuleType,
    site: Site,
    eventflow_events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file is deleted right before it is opened, and restored for the second attempt."""
    path = site.folder / "beta/code.py"
    content = path.read_bytes()
    check: Callable[..., int] = audit.check
    deleted: list[Path] = []

    def vanishing(file: Path, *stated: str) -> int:
        if file == path and not deleted:
            deleted.append(file)
            file.unlink()

        return check(file, *stated)

    def restore(event: StateTransition) -> None:
        path.write_bytes(content)

    monkeypatch.setattr(audit, "check", vanishing)
    with bus.subscribe(restore, run_type="task", state="AwaitingRetry"):
        report = audit.integrity_audit(paths=[site.folder])

    assert deleted == [path]
    assert (report.files, report.missing, report.changed) == (6, [], [])
    assert states_of_tasks(eventflow_events)["beta"] == [*STARTED, *RETRIED, "Completed"]


@pytest.mark.parametrize(("damage", "status"), [(False, 0), (True, 1)])
def test_the_command_of_the_readme_audits_any_environment(
    sandbox: Sandbox, site: Site, damage: bool, status: int
) -> None:
    """The exit status is 1 for a damaged environment, and stderr names the damage."""
    path = site.folder / "alpha/code.py"
    if damage:
        path.write_bytes(b"x = 2\n")
    target = f"{EXAMPLES / 'integrity_audit.py'}:integrity_audit"
    process = sandbox.python("-m", "eventflow.cli", "run", target, "--paths", str(site.folder))

    assert process.returncode == status, process.stderr
    assert "2 distributions, 6 files" in process.stdout
    assert (f"changed  {path}: another sha256" in process.stderr) is damage


@pytest.mark.usefixtures("eventflow_isolated")
def test_a_distribution_without_a_record_is_listed_as_not_verifiable(
    audit: ModuleType, site: Site
) -> None:
    """It is counted, and no damage."""
    site.install("gamma", {"gamma.py": b""}, recorded=False)

    report = audit.integrity_audit(paths=[site.folder])

    assert (report.distributions, report.not_verifiable) == (3, ["gamma"])


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
def test_a_mismatch_with_record_is_listed_with_the_reason(
    audit: ModuleType, site: Site, written: str, reason: str
) -> None:
    """A RECORD that was itself tampered with is damage as well."""
    site.install("odd", {"odd/code.py": b"z = 3\n"})
    (site.folder / "odd-1.0.dist-info/RECORD").write_text(f"{written}\n")

    with pytest.raises(audit.Damaged, match=reason) as raised:
        audit.integrity_audit(paths=[site.folder], only="odd")

    assert len(raised.value.report.changed) == 1


@pytest.mark.usefixtures("eventflow_isolated")
def test_the_hash_is_the_one_that_record_names(audit: ModuleType, site: Site) -> None:
    """A file may be recorded with any hash algorithm that Python has."""
    site.install("odd", {"odd/code.py": b"z = 3\n"})
    record = site.folder / "odd-1.0.dist-info/RECORD"
    record.write_text(line("odd/code.py", b"z = 3\n", "sha512"))

    assert audit.integrity_audit(paths=[site.folder], only="odd").files == 1


@pytest.mark.usefixtures("eventflow_isolated")
def test_a_pattern_selects_the_distributions(audit: ModuleType, site: Site) -> None:
    """Only those that match are audited, by as many workers as given."""
    report = audit.integrity_audit(paths=[str(site.folder)], only="be*", workers="1")

    assert report.distributions == 1


@pytest.mark.usefixtures("eventflow_isolated")
def test_an_audit_of_nothing_is_an_error(audit: ModuleType, site: Site, tmp_path: Path) -> None:
    """A mistyped name or path must not look like an undamaged environment."""
    with pytest.raises(ValueError, match="No distribution is named like 'nope'"):
        audit.integrity_audit(paths=[site.folder], only="nope")

    with pytest.raises(ParameterTypeError, match="paths"):
        audit.integrity_audit(paths=[tmp_path / "nowhere"])

    with pytest.raises(ParameterTypeError, match="workers"):
        audit.integrity_audit(paths=[site.folder], workers=0)
