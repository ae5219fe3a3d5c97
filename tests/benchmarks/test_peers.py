"""The comparison with the peers, as far as it goes without them: no times, no network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.peers import comparison, environments
from benchmarks.peers.comparison import Outcome, RunningSides, calibrated, compared, in_rounds
from benchmarks.peers.environments import (
    REQUIREMENTS,
    Environments,
    NoEnvironment,
    default_folder,
)
from benchmarks.peers.running import SCRIPTS, RunningSide, running
from benchmarks.peers.tables import markdown, plain, rows
from benchmarks.peers.workers import Group, PeerFailed, Worker
from benchmarks.peers.works import SIDES, WORKS, Target, UnknownPeer, Work, chosen
from benchmarks.processes import ROOT

FAKE = """
import os, sys
from benchmarks.peers.serving import serve

def prints(count):
    print("a peer may print", flush=True)
    return count * 7

def raises(count):
    raise LookupError("no such thing")

def exits(count):
    print("exiting", file=sys.stderr, flush=True)
    os._exit(3)

serve({"prints": prints, "raises": raises, "exits": exits})
"""

PEERS = [side for side in SIDES.values() if not side.ours]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    with closing(Group({**os.environ, "PYTHONPATH": str(ROOT)}, tmp_path)) as group:
        yield group


def fake(group: Group) -> Worker:
    return Worker(group, [sys.executable, "-c", FAKE])


# -- the pipe -------------------------------------------------------------------------------------


def test_output_of_a_worker_is_no_answer(group: Group) -> None:
    worker = fake(group)
    assert [worker.turn("prints", count) for count in (1, 3)] == [7, 21]
    assert group.log_tail() == "a peer may print\n" * 2


def test_a_work_that_raises_is_reported_and_the_worker_goes_on(group: Group) -> None:
    worker = fake(group)
    with pytest.raises(PeerFailed, match="LookupError: no such thing"):
        worker.turn("raises", 1)
    with pytest.raises(PeerFailed, match="KeyError: 'unheard of'"):
        worker.turn("unheard of", 1)
    assert worker.turn("prints", 1) == 7


def test_a_worker_that_exits_is_reported_with_its_last_output(group: Group) -> None:
    worker = fake(group)
    for _ in range(2):
        with pytest.raises(PeerFailed, match="exiting"):
            worker.turn("exits", 1)


def test_a_worker_that_does_not_start_is_reported(group: Group) -> None:
    with pytest.raises(PeerFailed, match="No module named nothing_like_it"):
        Worker(group, [sys.executable, "-m", "nothing_like_it"])


def test_a_worker_that_hangs_is_ended(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.workers.PATIENCE_SECONDS", 0.01)
    with pytest.raises(PeerFailed, match="was ended"):
        Worker(group, [sys.executable, "-c", "import signal; signal.pause()"])


def test_a_side_is_stopped_between_its_turns(group: Group) -> None:
    process = group.start([sys.executable, "-c", FAKE])
    with group.resumed():
        pass
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def test_all_processes_of_a_side_end_with_it(group: Group) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); input()"
    first = group.start([sys.executable, "-c", FAKE])
    second = group.start([sys.executable, "-c", stubborn])
    assert second.stdout is not None
    second.stdout.readline()
    assert os.getpgid(second.pid) == first.pid
    group.close()
    assert None not in (first.returncode, second.returncode)


# -- our own sides --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eventflow", "eventflow-journal"])
def test_our_own_side_does_all_its_work(name: str) -> None:
    side = SIDES[name]
    with running(side, Path(sys.executable)) as started:
        for work in WORKS:
            if name in work.sides:
                assert started.turn(work.name, 2) > 0
        assert re.match(r"\d+\.\d+", started.version())


def test_a_script_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.peers.running.SCRIPTS", tmp_path)
    with (
        running(SIDES["eventflow"], Path(sys.executable)) as side,
        pytest.raises(PeerFailed, match=r"with_eventflow\.py"),
    ):
        side.turn("hello", 1)


# -- rounds and ratios ----------------------------------------------------------------------------


def test_the_turns_are_interleaved_and_another_side_begins_each_round() -> None:
    order: list[str] = []

    def turn(name: str, nanoseconds: int) -> Any:
        def run(work: str, count: int) -> int:
            order.append(name)
            return nanoseconds * count

        return run

    turns = {"a": turn("a", 10), "b": turn("b", 300), "c": turn("c", 5)}
    times = in_rounds(turns, {"a": 4, "b": 1, "c": 9}, "work", rounds=4)
    assert "".join(order) == "abcbcacababc"
    assert times == {"a": (10.0,) * 4, "b": (300.0,) * 4, "c": (5.0,) * 4}


@pytest.mark.parametrize("nanoseconds", [1, 60, 5_000])
def test_a_turn_is_made_long_enough(nanoseconds: int) -> None:
    count = calibrated(lambda _, count: nanoseconds * count, "work", least=1_000)
    assert nanoseconds * count >= 1_000
    assert nanoseconds * count < 10_000


def test_a_ratio_is_of_turns_of_the_same_round() -> None:
    work = Work("w", "about", ("eventflow", "bubus"), (Target("eventflow", "bubus", 3),))
    times = {"eventflow": (10.0, 20.0, 10.0), "bubus": (30.0, 60.0, 50.0)}
    outcome = Outcome(work, times, {})
    reading = outcome.ratio("eventflow", "bubus")
    assert reading is not None
    assert reading.values == (3.0, 3.0, 5.0)
    assert outcome.seconds("bubus") == pytest.approx(50e-9)
    assert plain(outcome)["targets"][0]["reached"] is True
    assert list(rows(outcome))[-1].endswith("bubus ≥ 3 × eventflow: 3 ×, reached")


class FakeSides(RunningSides):
    """Sides that take a known time, of which some fail."""

    def __init__(self, times: dict[str, int]) -> None:
        super().__init__(Environments(Path("nowhere")))
        self.times = times
        self.started: list[str] = []

    def _start(self, name: str) -> RunningSide:
        self.started.append(name)
        if name not in self.times:
            raise NoEnvironment(name, "pip said no")
        side = object.__new__(RunningSide)
        side.turn = lambda work, count: self.times[name] * count  # type: ignore[method-assign]

        return side


def test_a_peer_that_fails_stops_no_other_and_is_asked_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    works = chosen(["publish", "bubus", "pyee"])
    with FakeSides({"eventflow": 10**6, "pyee": 10**5}) as sides:
        first, second = compared(works, sides, rounds=3)
    assert first.times == {"eventflow": (1e6,) * 3, "pyee": (1e5,) * 3}
    assert first.failures.keys() == second.failures.keys() == {"bubus"}
    assert sides.started == ["eventflow", "bubus", "pyee"]
    assert "pip said no" in capsys.readouterr().err
    assert "| bubus | failed |" in markdown([first, second])
    assert plain(first)["targets"][0]["ratio"] is None
    assert any(row.endswith("not measured") for row in rows(first))


# -- names ----------------------------------------------------------------------------------------


def test_names_choose_peers_and_works() -> None:
    assert chosen([]) == list(WORKS)
    assert [work.name for work in chosen(["publish"])] == ["publish.sync", "publish.async"]
    assert {work.name for work in chosen(["taskiq", "pyee"])} == {
        "task.submitted",
        "publish.sync",
        "publish.async",
    }
    (both,) = chosen(["prefect", "flow.empty"])
    assert both.sides[2:] == ("prefect-server", "prefect-ephemeral")
    (work,) = chosen(["prefect-ephemeral", "flow.empty"])
    assert work.sides == ("eventflow", "eventflow-journal", "prefect-ephemeral")
    assert work.targets == ()


@pytest.mark.parametrize("name", ["prefct", "eventflow", "eventflow-runtime"])
def test_an_unknown_peer_is_an_error_that_says_what_there_is(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnknownPeer):
        chosen([name])
    assert main(["--peers", name]) == 2
    message = capsys.readouterr().err
    assert repr(name) in message
    assert all(each in message for each in ("prefect-server", "bubus", "task.direct", "hello"))


def test_every_side_of_a_work_and_of_a_target_is_known() -> None:
    for work in WORKS:
        assert set(work.sides) <= SIDES.keys()
        assert {side for target in work.targets for side in (target.ours, target.peer)} <= set(
            work.sides
        )
        assert SIDES[work.sides[0]].ours


# -- environments ---------------------------------------------------------------------------------


def test_every_peer_has_pins_and_work_of_its_own() -> None:
    packages = {side.package for side in PEERS}
    assert {file.stem for file in REQUIREMENTS.iterdir()} == packages
    for package in packages:
        pins = (REQUIREMENTS / f"{package}.txt").read_text().splitlines()
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in pins)
        assert any(pin.startswith(f"{package}==") for pin in pins)
        assert (REQUIREMENTS.parent / "sides" / f"{package}.py").exists()
    for name in next(work.sides for work in WORKS if work.name == "hello"):
        assert (SCRIPTS / f"with_{SIDES[name].module}.py").exists()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record the commands instead of running them; those of an environment `broken` fail."""
    recorded: list[list[str]] = []

    def record(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        recorded.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)
        return subprocess.CompletedProcess(command, int("broken" in command[0]), "", "no luck")

    monkeypatch.setattr(subprocess, "run", record)
    return recorded


def test_an_environment_is_made_once(tmp_path: Path, commands: list[list[str]]) -> None:
    made = Environments(tmp_path / "made")
    python = made.python_of(SIDES["bubus"])
    assert made.python_of(SIDES["bubus"]) == python
    assert python.is_relative_to(tmp_path / "made")
    assert [command[0] for command in commands] == [sys.executable, str(python)]
    assert commands[1][-1] == str(REQUIREMENTS / "bubus.txt")


def test_other_pins_make_another_environment(
    tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Environments(tmp_path / "made")
    before = made.python_of(SIDES["bubus"])
    (tmp_path / "bubus.txt").write_text("bubus==0\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    assert made.python_of(SIDES["bubus"]) != before
    assert len(commands) == 4


def test_an_environment_that_cannot_be_made_is_reported_and_tried_again(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    made = Environments(tmp_path / "broken")
    for _ in range(2):
        with pytest.raises(NoEnvironment, match=r"bubus:\nno luck"):
            made.python_of(SIDES["bubus"])
    assert len(commands) == 4


def test_our_own_sides_need_no_environment(tmp_path: Path, commands: list[list[str]]) -> None:
    assert Environments(tmp_path).python_of(SIDES["eventflow"]) == Path(sys.executable)
    assert commands == []


def test_the_environments_are_kept_among_the_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder().parent == tmp_path
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder().parent == Path.home() / ".cache"


# -- the command line -----------------------------------------------------------------------------


@pytest.fixture
def in_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run peers in this environment, where blinker is installed, with short turns."""
    monkeypatch.setattr(Environments, "python_of", lambda *_: Path(sys.executable))
    monkeypatch.setattr(comparison, "calibrated", lambda turn, work: min(1, turn(work, 1)))


@pytest.mark.usefixtures("in_this_environment")
def test_a_comparison_is_printed_written_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, file, chart = (tmp_path / name for name in ("README.md", "out.json", "out.svg"))
    page.write_text("# Title\n<!-- begin: peers -->\n<!-- end: peers -->\n")
    monkeypatch.setattr("benchmarks.__main__.PAGE", page)
    options = ["--peers", "--rounds=2", f"--json={file}", f"--plot={chart}", "--readme"]
    assert main([*options, "blinker"]) == 0
    assert "blinker" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert [work["name"] for work in written["peers"]] == ["publish.sync", "publish.async"]
    assert all(len(each) == 2 for each in written["peers"][0]["nanoseconds"].values())
    assert written["versions"].keys() >= {"blinker", "eventflow-runtime", "pydantic"}
    assert (tmp_path / "peers.svg").read_text() == chart.read_text()
    assert "own event to one sync listener" in chart.read_text()
    text = page.read_text()
    assert text.startswith("# Title\n")
    assert "(peers.svg)" in text
    assert f"blinker {written['versions']['blinker']}" in text


@pytest.mark.usefixtures("in_this_environment")
def test_a_peer_that_cannot_run_makes_the_exit_code() -> None:
    assert main(["--peers", "--rounds=1", "bubus", "publish.sync"]) == 1


def test_the_page_must_have_a_part_for_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "README.md"
    page.write_text("# Title\n")
    monkeypatch.setattr("benchmarks.__main__.PAGE", page)
    monkeypatch.setattr("benchmarks.peers.run.compared", lambda *_: [])
    assert main(["--peers", "--readme"]) == 2
    assert "begin: peers" in capsys.readouterr().err
