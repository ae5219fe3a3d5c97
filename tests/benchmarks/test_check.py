"""The regression check: what is counted, what is a regression, and what is reported."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks import check as module
from benchmarks import counted
from benchmarks.__main__ import main
from benchmarks.catalogue import chosen
from benchmarks.check import RATIOS, WATCHED, NotCountableError, check, record
from benchmarks.counting import run
from benchmarks.processes import ROOT, environment

EVERYTHING = ("import", "import.names", *WATCHED)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ratios.json"


class Counter:
    """Returns 2 for every name, but for the given exceptions of each call."""

    def __init__(self, *differing: dict[str, float]) -> None:
        self.differing = list(differing)
        self.calls: list[Sequence[str]] = []

    def __call__(self, names: Sequence[str]) -> dict[str, float]:
        self.calls.append(names)
        return dict.fromkeys(("import", "import.names", *names), 2.0) | self.differing.pop(0)


def test_equal_ratios_are_no_regression(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(Counter({}), file)
    counter = Counter({})
    assert check(counter, file) == []
    assert counter.calls == [WATCHED]
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split() for row in rows] == [[name, "2.000", "2.000"] for name in EVERYTHING]


def test_a_quarter_more_is_allowed(file: Path) -> None:
    record(Counter({}), file)
    assert check(Counter({"task.sync.0.off": 2.5, "import": 0.1}), file) == []


def test_more_than_that_is_a_regression_and_named(file: Path) -> None:
    record(Counter({}), file)
    worse = {"publish.own.1": 2.51, "import": 4.0}
    first, second = check(Counter(worse, worse), file)
    assert first == (
        "import regressed: 2.000 x its floor is recorded, 4.000 x was measured, +100%; "
        "25% are allowed."
    )
    assert second.startswith("publish.own.1 regressed: 2.000 x its floor is recorded, 2.510 x")


def test_a_regression_is_counted_a_second_time(file: Path) -> None:
    record(Counter({}), file)
    counter = Counter({"publish.own.1": 3.0, "task.sync.0.off": 9.0}, {"task.sync.0.off": 8.0})
    (only,) = check(counter, file)
    assert counter.calls[1] == ["task.sync.0.off", "publish.own.1"]
    assert "8.000 x was measured" in only


def test_a_ratio_that_is_worse_in_one_count_only_is_no_regression(file: Path) -> None:
    record(Counter({}), file)
    assert check(Counter({"publish.own.1": 3.0}, {"import": 3.0}), file) == []


def test_each_python_has_ratios_of_its_own(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(Counter({}), file)
    monkeypatch.setattr(module, "_python", lambda: "3.99")
    with pytest.raises(
        NotCountableError, match=r"no ratio of import, .* for Python 3\.99; .*--rec"
    ):
        check(Counter({}), file)
    record(Counter({"import": 7.0}), file)
    assert [ratios["import"] for ratios in json.loads(file.read_text()).values()] == [2.0, 7.0]


def test_what_is_named_is_recorded_alone(file: Path) -> None:
    """Or is in a group that is named. Nothing else is counted; the other ratios stay."""
    record(Counter({}), file)
    anew = {"import": 7.0, "import.names": 8.0, "publish.own.1": 9.0}
    counter = Counter(anew)
    assert record(counter, file, ["import", "publish.own.1"]) == anew
    assert counter.calls == [["publish.own.1"]]
    (ratios,) = json.loads(file.read_text()).values()
    assert ratios == dict.fromkeys(EVERYTHING, 2.0) | anew


def test_what_is_not_watched_is_not_recorded(file: Path) -> None:
    with pytest.raises(
        NotCountableError, match=r"No ratio of start is recorded, only of import, .*"
    ):
        record(Counter({}), file, ["import", "start"])
    assert not file.exists()


def test_a_watched_workload_without_a_recorded_ratio_is_an_error(file: Path) -> None:
    file.write_text(json.dumps({module._python(): dict.fromkeys(WATCHED, 1.0)}))
    with pytest.raises(NotCountableError, match=r"no ratio of import, import\.names for Python"):
        check(Counter({}), file)


def test_every_watched_workload_is_recorded() -> None:
    """For each Python that has ratios, and nothing else is."""
    every = json.loads(RATIOS.read_text())
    assert every
    for ratios in every.values():
        assert set(ratios) == set(EVERYTHING)
    assert [workload.name for name in WATCHED for workload in chosen([name])] == list(WATCHED)


# -- counting -------------------------------------------------------------------------------------


def test_each_side_runs_between_two_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[int] = []
    calls: list[int] = []
    monkeypatch.setattr("benchmarks.floors.publish", lambda *_: calls.append(1))
    run(["publish.own.1", "publish.own.0"], 3, lambda: marks.append(len(calls)))
    # Three to warm up, the mark, three that count, and the mark; then ours, which calls no floor.
    assert marks == [3, 6, 6, 9, 12, 12]


def test_the_imports_are_counted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[None] = []
    monkeypatch.setattr(counted, "mark", lambda: marks.append(None))
    counted.main(["publish.own.1"])
    assert len(marks) == 7


@pytest.fixture
def valgrind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts a script on the PATH as valgrind."""

    def put(script: str) -> None:
        path = tmp_path / "valgrind"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return put


PARTS = 'out=${4#*=}; n=1; for c in %s; do echo "summary: $c" > "$out.$n"; n=$((n + 1)); done'


def test_the_ratios_are_those_of_the_parts(valgrind: Callable[[str], None]) -> None:
    """In the order of the marks, of which there are more than nine."""
    valgrind(PARTS % "1 100 30 20 5 10 20 5 10 30 5 10 40")
    imports = {"import": 1.3, "import.names": 1.5}
    assert module.count(["a", "b", "c"]) == imports | {"a": 2.0, "b": 3.0, "c": 4.0}


def test_too_few_parts_are_no_count(valgrind: Callable[[str], None]) -> None:
    valgrind(PARTS % "1 100 30 5 10")
    with pytest.raises(NotCountableError, match="5 parts were counted, for 1 workloads"):
        module.count(["a"])


def test_a_part_without_a_total_is_no_count(valgrind: Callable[[str], None]) -> None:
    valgrind('echo nothing > "${4#*=}.1"')
    with pytest.raises(NotCountableError, match=r"counts\.1 holds no total"):
        module.count([])


def test_a_failure_under_valgrind_has_its_reason(valgrind: Callable[[str], None]) -> None:
    valgrind("echo no room >&2; exit 3")
    with pytest.raises(NotCountableError, match=r"(?s)benchmarks\.counted failed:.*no room"):
        module.count([])


def test_without_valgrind_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--record"]) == 2
    assert capsys.readouterr().err == (
        "Counting instructions needs valgrind, which is not installed.\n"
    )


# -- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(("regressions", "code"), [([], 0), (["task regressed"], 1)])
def test_a_regression_fails_the_command(
    regressions: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("benchmarks.__main__.check", lambda: regressions)
    assert main(["--check"]) == code
    assert capsys.readouterr().err.splitlines() == regressions


def test_recording_is_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("benchmarks.__main__.record", lambda *, only: calls.append(only))
    assert main(["--record"]) == 0
    assert main(["--record", "import"]) == 0
    assert calls == [[], ["import"]]


def test_the_counted_program_runs_as_it_is(tmp_path: Path) -> None:
    """Without valgrind the marks have no effect."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.counted", "publish.own.1"],
        cwd=ROOT,
        env=environment(str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
