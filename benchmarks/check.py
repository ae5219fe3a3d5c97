"""A regression check: the ratios of executed instructions, compared with the recorded ones.

Wall-clock and processor times are no use: other work on the machine moves their ratios by more than
a regression would. Counts of instructions do not move, but need valgrind.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

from benchmarks.catalogue import stands_for
from benchmarks.counted import IMPORT, MARK, NAMES
from benchmarks.processes import ROOT, environment

__all__ = [
    "EVERY",
    "RATIOS",
    "TOLERANCE",
    "WATCHED",
    "Count",
    "NotCountableError",
    "check",
    "count",
    "record",
]

TOLERANCE: Final = 1.25
"""By which factor a ratio may exceed the recorded one."""

RATIOS: Final = Path(__file__).with_name("ratios.json")

WATCHED: Final = (
    *("task.sync.0.off", "task.sync.1.off", "task.sync.10.off", "task.async.1.off"),
    *("task.in-flow.0.off", "flow.empty.off", "flow.nested.off"),
    *("submit.sync.1.off", "submit.async.1.off"),
    *("publish.own.1", "publish.own.10", "publish.state.1", "publish.async.1"),
    *("subscriptions.name.1000", "subscriptions.glob.1000"),
)
"""The workloads that are checked: few, and small enough for valgrind; so are the imports."""

EVERY: Final = (IMPORT, NAMES, *WATCHED)
"""All that is recorded."""

Count: TypeAlias = Callable[[Sequence[str]], dict[str, float]]
"""Returns the ratios of workloads, and those of the imports."""


class NotCountableError(Exception):
    """Instructions cannot be counted here, or there is nothing to compare them to."""


def count(names: Sequence[str]) -> dict[str, float]:
    """Count what our side of each workload executes for one instruction of its floor.

    Raises:
        NotCountableError: valgrind is not there, or something went wrong under it.
    """
    if shutil.which("valgrind") is None:
        raise NotCountableError("Counting instructions needs valgrind, which is not installed.")
    with TemporaryDirectory(prefix="eventflow-") as folder:
        # Once without valgrind: what Python compiles to bytecode must not count.
        _run([sys.executable, "-m", "benchmarks.counted"], folder)
        tool = ("valgrind", "-q", "--tool=callgrind", f"--dump-before={MARK}")
        out = Path(folder) / "counts"
        output = f"--callgrind-out-file={out}"
        _run([*tool, output, sys.executable, "-m", "benchmarks.counted", *names], folder)
        parts = sorted(out.parent.glob("counts.*"), key=lambda part: int(part.suffix[1:]))
        counts = [_total(part) for part in parts]

    return _ratios(names, counts)


def _run(command: Sequence[str], home: str) -> None:
    # The order of sets must be the same in every run.
    fixed = {**environment(home), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=fixed, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotCountableError(f"{' '.join(command)} failed:\n{done.stderr}")


def _total(part: Path) -> int:
    total = re.search(r"^(?:summary|totals): (\d+)", part.read_text(), re.MULTILINE)
    if total is None:
        raise NotCountableError(f"{part.name} holds no total of instructions.")

    return int(total[1])


def _ratios(names: Sequence[str], counts: Sequence[int]) -> dict[str, float]:
    """Make ratios of the numbers of instructions before each mark."""
    if len(counts) != 4 + 3 * len(names):
        raise NotCountableError(f"{len(counts)} parts were counted, for {len(names)} workloads.")
    # The first part, and then the first of each three, is the setup.
    floor, whole, taken = counts[1:4]
    ratios = {IMPORT: 1 + whole / floor, NAMES: 1 + (whole + taken) / floor}
    for name, denominator, numerator in zip(names, counts[5::3], counts[6::3], strict=True):
        ratios[name] = numerator / denominator

    return {name: round(value, 3) for name, value in ratios.items()}


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _all_recorded(file: Path) -> dict[str, dict[str, float]]:
    if not file.exists():
        return {}
    recorded: dict[str, dict[str, float]] = json.loads(file.read_text())

    return recorded


def record(
    counted: Count = count, file: Path = RATIOS, only: Sequence[str] = ()
) -> dict[str, float]:
    """Record the present ratios, for this version of Python, beside those of others.

    With `only`, names or groups of names, the other ratios are left as they are.

    Raises:
        NotCountableError: they cannot be counted.
    """
    for name in only:
        if not any(stands_for(name, each) for each in EVERY):
            raise NotCountableError(f"No ratio of {name} is recorded, only of {', '.join(EVERY)}.")
    wanted = [each for each in EVERY if not only or any(stands_for(name, each) for name in only)]
    counts = counted([name for name in WATCHED if name in wanted])
    ratios = {name: counts[name] for name in wanted}
    every = _all_recorded(file)
    every[_python()] = every.get(_python(), {}) | ratios if only else ratios
    file.write_text(json.dumps(every, indent=2, sort_keys=True) + "\n")

    return ratios


def check(counted: Count = count, file: Path = RATIOS) -> list[str]:
    """Compare the present ratios with the recorded ones; returns a line for each regression.

    What seems to have regressed is counted a second time.

    Raises:
        NotCountableError: they cannot be counted, or are not recorded for this Python.
    """
    recorded = _all_recorded(file).get(_python(), {})
    missing = [name for name in EVERY if name not in recorded]
    if missing:
        raise NotCountableError(
            f"{file.name} has no ratio of {', '.join(missing)} for Python {_python()}; see: python "
            "-m benchmarks --record"
        )
    ratios = counted(WATCHED)
    _show(ratios, recorded)
    worse = _regressed(ratios, recorded)
    if worse:
        again = counted([name for name in WATCHED if name in worse])
        worse = [name for name in _regressed(again, recorded) if name in worse]
        ratios |= again

    return [
        f"{name} regressed: {recorded[name]:.3f} x its floor is recorded, {ratios[name]:.3f} x was "
        f"measured, {ratios[name] / recorded[name] - 1:+.0%}; {TOLERANCE - 1:.0%} are allowed."
        for name in worse
    ]


def _regressed(ratios: Mapping[str, float], recorded: Mapping[str, float]) -> list[str]:
    return [name for name, value in ratios.items() if value > TOLERANCE * recorded[name]]


def _show(ratios: Mapping[str, float], recorded: Mapping[str, float]) -> None:
    print(f"{'name':28} {'recorded':>9} {'measured':>9}")
    for name, value in ratios.items():
        print(f"{name:28} {recorded[name]:>9.3f} {value:>9.3f}")
