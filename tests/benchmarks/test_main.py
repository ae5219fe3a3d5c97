"""The command line of the benchmarks: its statistics and what it prints. No time is judged."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks import floors
from benchmarks.__main__ import OWN_PARTS, main
from benchmarks.calls import hook, work
from benchmarks.catalogue import Target, UnknownName, Workload, chosen, every
from benchmarks.measure import Pair, Reading, again, measure
from benchmarks.report import document, line, markdown, verdict
from eventflow import State, TaskRunTransition, task
from eventflow.states import StateType


class FakeClock:
    """A clock, and sides that take a known time on it."""

    def __init__(self) -> None:
        self.now = 0
        self.turns: list[tuple[str, int]] = []

    def __call__(self) -> int:
        return self.now

    def takes(self, nanoseconds: int, name: str = "") -> object:
        """Make a side that advances the clock by so much each loop."""

        def side(loops: int) -> None:
            self.now += nanoseconds * loops
            self.turns.append((name, loops))

        return side

    def pair(self, ours: int, floor: int, loops: int | None = None) -> Pair:
        """Make two such sides."""
        return Pair(self.takes(ours, "ours"), self.takes(floor, "floor"), loops)  # type: ignore[arg-type]


def test_the_ratio_is_ours_to_the_floor() -> None:
    """A side that takes three times as long has the ratio 3 in every round."""
    clock = FakeClock()
    reading = measure(clock.pair(ours=30, floor=10), rounds=5, least=1_000, clock=clock)
    assert reading.values == (3.0,) * 5
    assert reading.value == 3.0
    assert reading.spread == (3.0, 3.0)
    assert reading.ours == pytest.approx(30e-9)
    assert reading.floor == pytest.approx(10e-9)


def test_a_turn_is_long_enough_for_the_clock() -> None:
    """The number of loops is doubled until the floor's turn takes as long as is asked for."""
    clock = FakeClock()
    measure(clock.pair(ours=30, floor=10), rounds=2, least=1_000, clock=clock)
    assert {loops for _, loops in clock.turns[-4:]} == {128}


def test_a_much_slower_side_bounds_the_loops() -> None:
    """A side of ours that takes very much longer does not make calibration take for ever."""
    clock = FakeClock()
    measure(clock.pair(ours=10_000, floor=1), rounds=1, least=1_000, clock=clock)
    assert clock.turns[-1][1] == 1


def test_rounds_are_interleaved() -> None:
    """The side that begins alternates, and both are warmed up before."""
    clock = FakeClock()
    measure(clock.pair(ours=30, floor=10, loops=4), rounds=3, clock=clock)
    assert clock.turns == [
        *[("floor", 4), ("ours", 4)],
        *[("floor", 4), ("ours", 4)],
        *[("ours", 4), ("floor", 4)],
        *[("floor", 4), ("ours", 4)],
    ]


def test_a_disturbed_round_does_not_move_the_value() -> None:
    """The value is the median, and the spread the quartiles."""
    reading = Reading(values=(1.0, 2.0, 3.0, 4.0, 500.0))
    assert reading.value == 3.0
    assert reading.spread == (2.0, 4.0)
    assert Reading(values=(7.0,)).spread == (7.0, 7.0)


def test_a_side_makes_so_many_calls() -> None:
    """`again` makes calls with the given arguments, and neither more nor fewer."""
    calls: list[int] = []
    again(calls.append, 7)(3)
    assert calls == [7, 7, 7]


def test_the_floor_builds_what_eventflow_builds() -> None:
    """The hand-written models have the fields of eventflow's own."""
    assert floors.FloorState.model_fields.keys() == State.model_fields.keys()
    assert floors.FloorEvent.model_fields.keys() == TaskRunTransition.model_fields.keys()


def test_the_floor_does_what_a_task_call_does(eventflow_isolated: object) -> None:
    """One call of the function and one callback, with the result in the entered state."""
    by_hand: list[tuple[StateType, object]] = []
    by_eventflow: list[tuple[StateType, object]] = []
    floors.run(work, 5, lambda _, __, state: by_hand.append((state.type, state.data)))
    task(on_completion=[lambda _, __, state: by_eventflow.append((state.type, state.data))])(work)(
        5
    )
    assert by_hand == by_eventflow == [(StateType.COMPLETED, 5)]
    hook(None, None, None)


def test_the_command_line_measures_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`import` runs in fresh interpreters; the table is printed and the document written."""
    names = ["import", "import.names", "memory.called.off"]
    file = tmp_path / "out.json"
    assert (
        main(["import", "memory.called.off", "--rounds=1", "--task-runs=20", f"--json={file}"]) == 0
    )
    printed = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in printed] == ["name", *names]
    written = json.loads(file.read_text())
    assert [result["name"] for result in written["results"]] == names
    assert written["results"][0]["target"]["limit"] == 1.5
    assert written["results"][2]["target"]["reason"]
    assert written["results"][0]["seconds"]["ours"] > 0
    assert written["versions"]["pydantic"]


def test_the_figures_are_drawn_and_written_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what takes time is drawn; the page says when and with what it was measured."""
    page, chart = tmp_path / "README.md", tmp_path / "out.svg"
    page.write_text("# Title\n<!-- begin: floors -->\nold\n<!-- end: floors -->\n")
    monkeypatch.setattr("benchmarks.__main__.PAGE", page)
    names = ["publish.own.1", "memory.called.off"]
    assert main([*names, "--rounds=1", "--task-runs=20", "--readme", f"--plot={chart}"]) == 0
    text, drawing = page.read_text(), chart.read_text()
    assert (tmp_path / "floors.svg").read_text() == drawing
    assert ">publish.own.1</text>" in drawing
    assert "memory.called.off" not in drawing
    assert "(floors.svg)" in text
    assert "old" not in text
    assert f"pydantic {version('pydantic')}" in text
    assert {row.split("`")[1] for row in text.splitlines() if row.startswith("| `")} == {*names}


def test_the_page_has_a_part_of_its_own_for_the_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table without a chart; what was measured of other work stays as it is."""
    page = tmp_path / "README.md"
    parts = [f"<!-- begin: {name} -->\nold {name}\n<!-- end: {name} -->\n" for name in OWN_PARTS]
    page.write_text("".join(parts) + "<!-- begin: floors -->\nold floors\n<!-- end: floors -->\n")
    monkeypatch.setattr("benchmarks.__main__.PAGE", page)
    made = Workload("dashboard.x", "", "", "ms", None, usual=False, run=lambda _: Reading((1.5,)))
    monkeypatch.setattr("benchmarks.__main__.chosen", lambda _: [made])
    assert main(["dashboard", "--readme"]) == 0
    text = page.read_text()
    assert "1.50 ms" in text
    assert "old floors" in text
    assert "old dashboard" not in text


def test_without_markers_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error comes at once, and not after minutes of measuring."""
    page = tmp_path / "README.md"
    page.write_text("# Title\n")
    monkeypatch.setattr("benchmarks.__main__.PAGE", page)
    assert main(["publish.own.1", "--readme"]) == 2
    output = capsys.readouterr()
    assert "begin: floors" in output.err
    assert not output.out


def test_what_takes_no_time_cannot_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures are printed and written all the same."""
    file, chart = tmp_path / "out.json", tmp_path / "out.svg"
    options = ["--task-runs=20", f"--json={file}", f"--plot={chart}"]
    assert main(["memory.called.off", *options]) == 1
    assert "at least one bar" in capsys.readouterr().err
    assert json.loads(file.read_text())["results"]


def test_a_row_of_the_page_shows_the_target_and_whether_it_is_reached() -> None:
    """The last two cells are empty for a workload without a target."""
    target = Target(1.5, "a reason")
    reading = Reading((1.75,), ours=2e-6, floor=1e-6)
    judged = Workload("a.b", "about", "floor", "x", target, usual=True, run=lambda _: reading)
    plain = Workload("a.c", "about", "floor", "MB", None, usual=True, run=lambda _: reading)
    *_, first, second = markdown([(judged, reading), (plain, Reading((3.0,)))]).splitlines()
    assert first.endswith("| 1.75 × | 1.75 to 1.75 | 2 µs | ≤ 1.5 × | missed |")
    assert second.endswith("| 3.00 MB | 3.00 to 3.00 |  |  |  |")


def test_the_workloads_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` names every workload and measures none."""
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(every())


def test_an_unknown_name_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The message has the name, and the nearest known one."""
    assert main(["task.snyc"]) == 2
    assert "did you mean 'task.sync" in capsys.readouterr().err
    with pytest.raises(UnknownName):
        chosen(["nothing at all"])


def test_no_rounds_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The number of rounds is at least one."""
    with pytest.raises(SystemExit) as error:
        main(["--rounds", "0"])
    assert error.value.code == 2
    assert "must be 1 or more" in capsys.readouterr().err


def test_a_group_stands_for_its_workloads() -> None:
    """`task` stands for all of `task.…`; without names the long ones do not run."""
    assert {workload.name.split(".")[0] for workload in chosen(["task"])} == {"task"}
    assert not any(workload.name.startswith("memory.") for workload in chosen([]))
    assert [workload.name for workload in chosen(["memory.called"])] == [
        "memory.called.off",
        "memory.called.on",
    ]


def test_a_target_is_reached_or_missed() -> None:
    """The limit itself counts as reached; a row and the document give the reason as well."""
    target = Target(1.5, "half a floor")
    assert verdict(target, 1.5) == "<= 1.5 (half a floor) ok"
    assert verdict(target, 2.0) == "<= 1.5 (half a floor) miss"
    reading = Reading((2.0,), ours=2e-6, floor=1e-6)
    workload = Workload("a.b", "about", "floor", "x", target, usual=True, run=lambda _: reading)
    row = line(workload, reading)
    assert "2.00 x" in row
    assert row.endswith("<= 1.5 (half a floor) miss")
    (plain,) = document([(workload, reading)])["results"]
    assert plain["target"] == {"limit": 1.5, "reason": "half a floor", "reached": False}
