"""A process that has everything imported and forks a new one for each that is to be killed.

It is told by a line of JSON what the next one is to do, and answers with a line when that has
ended. Each child is an owner of its own, with its own guardian.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from eventflow.journal import writer
from eventflow.owners.folders import dead, owners_folder
from eventflow.recovery import __main__ as recovery
from tests.crash import points, workloads

LONGEST_SECONDS: Final = 60.0
"""How long a child may take at most, killed or not."""

COUNTS: Final = "counts.json"
SAID: Final = "said"


@dataclass(slots=True)
class Order:
    """What a child is to do: a workload, or the recovery of the first dead owner it finds.

    It is killed at the target, a point and a number; or, with `kills`, there is one child for
    each of them, killed after so many seconds. With `counts` it says how often it passed what.
    """

    home: str
    environment: dict[str, str]
    workload: str | None = None
    target: tuple[str, int] | None = None
    linger: float | None = None
    counts: bool = False
    takes_guardian_along: bool = False
    kills: list[float] = field(default_factory=list)
    seed: int = 0


@dataclass(slots=True)
class End:
    """How a child ended, and when by the clock."""

    status: int
    at: float
    hung: bool = False


def main() -> None:
    """Do what is ordered, until nobody orders any more."""
    for line in sys.stdin:
        order = Order(**json.loads(line))
        children = []
        for number, _ in enumerate(order.kills or [0.0]):
            child = os.fork()
            if not child:
                _be(order, number)
                return
            children.append(child)
        print(json.dumps([asdict(one) for one in _ends(order, children)]), flush=True)


def _ends(order: Order, children: list[int]) -> list[End]:
    started = time.monotonic()
    moments = order.kills or [LONGEST_SECONDS]
    ends = [
        _end(child, started + after) for after, child in sorted(zip(moments, children, strict=True))
    ]
    for one in ends:
        one.hung = one.status < 0 and time.monotonic() >= started + LONGEST_SECONDS

    return ends


def _end(child: int, deadline: float) -> End:
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return End(os.waitstatus_to_exitcode(status), time.time())
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


# -- in the child --------------------------------------------------------------------------------


def _be(order: Order, number: int) -> None:
    for name in [one for one in os.environ if one.startswith("EVENTFLOW_")]:
        del os.environ[name]
    os.environ.update(order.environment)
    os.chdir(order.home)
    nothing = os.open(os.devnull, os.O_RDONLY)
    said = os.open(SAID, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    for source, standard in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(source, standard)
    if order.linger is not None:
        writer.LINGER_SECONDS = order.linger  # type: ignore[misc]
    if order.counts:
        # Registered first, called last.
        atexit.register(_write_counts, Path(order.home, COUNTS))
    if order.counts or order.target is not None:
        target = None if order.target is None else (order.target[0], order.target[1])
        points.arm(target, _kill_guardian if order.takes_guardian_along else None)
    if order.workload is not None:
        (workloads.WORKLOADS | workloads.OTHERS)[order.workload]()
    elif order.kills:
        workloads.at_full_speed(order.seed + number)
    else:
        sys.exit(_recover())


def _write_counts(path: Path) -> None:
    path.write_text(json.dumps(points.counts()))


def _recover() -> int:
    url = os.environ["EVENTFLOW_JOURNAL_URL"]
    folder = owners_folder(url)
    found = [] if folder is None else dead(folder)
    if not found:
        return 0

    return recovery.main(["--owner", str(found[0].path), "--journal", url, "--alone"])


def _kill_guardian() -> None:
    """Kill the guardian of this process: that whose command names a folder of this home."""
    home = os.environ["EVENTFLOW_HOME"].encode()
    # Again and again: it may just be forking.
    while guardians := [one for one in Path("/proc").glob("[0-9]*") if _guards(one, home)]:
        for one in guardians:
            with suppress(ProcessLookupError):
                os.kill(int(one.name), signal.SIGKILL)


def _guards(process: Path, home: bytes) -> bool:
    try:
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False

    return b"/guardian.py\0" in command and home in command


if __name__ == "__main__":
    main()
