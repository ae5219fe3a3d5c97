"""A flow whose process is killed with SIGKILL: its hook runs all the same, in another process."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from eventflow import Flow, FlowRun, flow
from eventflow.states import AnyState

NOTE = Path(tempfile.gettempdir(), f"eventflow-note-{os.getuid()}.txt")


def clean_up(flow: Flow[..., None], flow_run: FlowRun, state: AnyState) -> None:
    """Write a note, from whichever process calls the hook."""
    NOTE.write_text(f"{flow_run.name} is {state.name}, says another process")


@flow(on_crashed=[clean_up])
def train() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out


def main() -> None:
    """Run the flow in a process of its own, and wait for the note."""
    child = subprocess.run([sys.executable, __file__, "train"])  # noqa: PLW1510, S603
    assert child.returncode == -signal.SIGKILL
    while not (NOTE.exists() and NOTE.read_text()):  # a guardian runs the hook
        time.sleep(0.05)
    print(NOTE.read_text())
    NOTE.unlink()


if __name__ == "__main__":
    train() if sys.argv[1:] == ["train"] else main()
