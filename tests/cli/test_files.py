"""A run is written to files in the formats asked for, or to standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from eventflow.dashboard.timeline import rendering
from tests.cli.conftest import Invoke
from tests.cli.sample_journal import Sample
from tests.dashboard.stored import markup

SHOW = ("runs", "show", "brave-otter")


def test_a_run_is_written_to_a_file_of_each_format(
    invoke: Invoke, sample: Sample, folder: Path
) -> None:
    """At once; nothing is printed but what was written."""
    result = invoke(*SHOW, "--html", "run.html", "--svg", "run.svg", "--perfetto", "run.json")

    assert (result.exit_code, result.stdout) == (0, "")
    assert [line.split(" (")[0] for line in result.stderr.splitlines()] == [
        *("Wrote run.html", "Wrote run.svg", "Wrote run.json")
    ]
    page = (folder / "run.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "ValueError: no such table" in page
    assert "alerts:page" in page
    assert markup((folder / "run.svg").read_text("utf-8")).tag.endswith("svg")
    names = {each["name"] for each in json.loads((folder / "run.json").read_text())["traceEvents"]}
    assert {"etl/brave-otter", "extract/sly-fox"} <= names


@pytest.mark.parametrize(
    ("option", "begin"),
    [("--html", "<!doctype html>"), ("--svg", "<svg class"), ("--perfetto", '{"traceEvents"')],
)
def test_a_dash_prints_it(invoke: Invoke, sample: Sample, option: str, begin: str) -> None:
    result = invoke(*SHOW, option, "-")

    assert result.exit_code == 0
    assert result.stdout.lstrip().startswith(begin)
    assert result.stderr == ""


def test_the_bars_of_a_picture_lead_to_the_pages_of_the_runs(
    invoke: Invoke, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTFLOW_API_URL", "https://flows.example")
    picture = invoke(*SHOW, "--svg", "-").stdout

    assert f'href="https://flows.example/flow-runs/flow-run/{sample.failed}"' in picture
    assert f'href="https://flows.example/task-runs/task-run/{sample.tasks[0]}"' in picture


def test_without_the_extra_only_a_trace_is_written(
    invoke: Invoke, sample: Sample, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what to install, and no file is begun."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    rendering._environment.cache_clear()

    result = invoke(*SHOW, "--perfetto", "run.json", "--html", "run.html")

    assert result.exit_code == 2
    assert result.stderr == (
        "Error: A page or a picture of a run needs the package 'jinja2', which is not installed; "
        "install it with: pip install 'eventflow-runtime[ui]'\n"
    )
    assert not {"run.json", "run.html"} & {path.name for path in folder.iterdir()}
    assert invoke(*SHOW, "--perfetto", "run.json").exit_code == 0


def test_a_file_that_cannot_be_written_is_an_error_of_one_line(
    invoke: Invoke, sample: Sample
) -> None:
    result = invoke(*SHOW, "--perfetto", "missing/run.json")

    assert result.exit_code == 1
    assert "missing/run.json" in result.stderr
    assert "Traceback" not in result.output
