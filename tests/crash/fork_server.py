"""A fork server: has everything imported, and forks each process that is to be killed.

A line of JSON on stdin is a request; the answer, once its processes have ended, is a line of JSON
with their exits. Each child is an owner of its own, with its own guardian.
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

from eventflow.journal.wal import spool, writer
from eventflow.owners.folders import dead, owners_folder
from eventflow.recovery import __main__ as recovery
from tests.crash import points, workloads
from tests.crash.workloads import LOG

LONGEST_SECONDS: Final = 60.0
"""How long a child may take, whether it is killed or not."""

COUNTS: Final = "counts.json"


@dataclass(slots=True)
class Request:
    """What a child does: a workload, or the recovery of the first dead owner.

    It is killed at the target, a point and a number; or, with `kills`, there is one child for each
    of them, killed after so many seconds. With `counts` it writes how often it passed each point.
    It commits after `linger` seconds, and its segments have `segment_bytes`, unless these are None;
    they are `mapped`, or written.
    """

    home: str
    environment: dict[str, str]
    workload: str | None = None
    target: tuple[str, int] | None = None
    linger: float | None = None
    segment_bytes: int | None = None
    mapped: bool = True
    counts: bool = False
    kills_guardian: bool = False
    kills: list[float] = field(default_factory=list)
    seed: int = 0


@dataclass(slots=True)
class Exit:
    """The exit status of a child, and the time of its end."""

    status: int
    at: float
    hung: bool = False


def main() -> None:
    """Serve requests until stdin is closed."""
    for line in sys.stdin:
        request = Request(**json.loads(line))
        children = []
        for number, _ in enumerate(request.kills or [0.0]):
            child = os.fork()
            if not child:
                _run_child(request, number)
                return
            children.append(child)
        print(json.dumps([asdict(end) for end in _exits(request, children)]), flush=True)


def _exits(request: Request, children: list[int]) -> list[Exit]:
    started = time.monotonic()
    moments = request.kills or [LONGEST_SECONDS]
    exits = [
        _exit(child, started + after)
        for after, child in sorted(zip(moments, children, strict=True))
    ]
    for end in exits:
        end.hung = end.status < 0 and time.monotonic() >= started + LONGEST_SECONDS

    return exits


def _exit(child: int, deadline: float) -> Exit:
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return Exit(os.waitstatus_to_exitcode(status), time.time())
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


# -- in the child --------------------------------------------------------------------------------


def _run_child(request: Request, number: int) -> None:
    for name in [name for name in os.environ if name.startswith("EVENTFLOW_")]:
        del os.environ[name]
    os.environ.update(request.environment)
    os.chdir(request.home)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(LOG, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    for source, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, standard)
    _set_pace(request)
    if request.counts:
        # Registered first, and so called last.
        atexit.register(_write_counts, Path(request.home, COUNTS))
    if request.counts or request.target is not None:
        target = None if request.target is None else (request.target[0], request.target[1])
        points.arm(target, _kill_guardian if request.kills_guardian else None)
    if request.workload is not None:
        (workloads.WORKLOADS | workloads.OTHERS)[request.workload]()
    elif request.kills:
        workloads.at_full_speed(request.seed + number)
    else:
        sys.exit(_recover())


def _set_pace(request: Request) -> None:
    if request.linger is not None:
        writer.LINGER_SECONDS = request.linger  # type: ignore[misc]
    if request.segment_bytes is not None:
        (spool.Spool.__init__.__kwdefaults__ or {})["segment_bytes"] = request.segment_bytes
    if not request.mapped:
        spool.MAPPABLE = frozenset()  # type: ignore[misc]


def _write_counts(path: Path) -> None:
    path.write_text(json.dumps(points.counts()))


def _recover() -> int:
    url = os.environ["EVENTFLOW_JOURNAL_URL"]
    folder = owners_folder(url)
    owners = [] if folder is None else dead(folder)
    if not owners:
        return 0

    return recovery.main(["--owner", str(owners[0].path), "--journal", url, "--alone"])


def _kill_guardian() -> None:
    """Kill the guardian of this process: the one whose command names a folder of this home."""
    home = os.environ["EVENTFLOW_HOME"].encode()
    # Repeatedly, because it may be forking.
    processes = Path("/proc")
    while guardians := [path for path in processes.glob("[0-9]*") if _guards(path, home)]:
        for path in guardians:
            with suppress(ProcessLookupError):
                os.kill(int(path.name), signal.SIGKILL)


def _guards(process: Path, home: bytes) -> bool:
    try:
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False

    return b"/guardian.py\0" in command and home in command


if __name__ == "__main__":
    main()
