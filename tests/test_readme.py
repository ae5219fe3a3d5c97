"""Every Python block of the README runs as its reader would run it: pasted into a file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sybil.document import Document
from sybil.example import Example
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TIMEOUT_SECONDS = 60

# Every other fence opens a block, and names its language.
FENCE = re.compile(r"^\s*(?:```|~~~)(.*)$", re.MULTILINE)
# Blocks in these are not run here; `.ci/run` pastes the marked ones into a shell.
NOT_PYTHON = {"bash", "console", "json", "mermaid", "text", "toml"}


def blocks() -> list[Example]:
    document = Document.parse(str(README), CodeBlockParser("python", lambda _: None))
    return list(document.examples())


def languages() -> list[str]:
    return FENCE.findall(README.read_text())[::2]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"line {block.line}")
def test_a_block_runs_as_pasted(block: Example, tmp_path: Path) -> None:
    script = tmp_path / "pasted.py"
    script.write_text(str(block.parsed))
    home = {"HOME": str(tmp_path), "EVENTFLOW_HOME": str(tmp_path / "eventflow")}

    # A file, not a pipe: a process that outlives the block would hold a pipe open.
    with (tmp_path / "output").open("w") as output:
        process = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env=os.environ | home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    assert process.returncode == 0, (tmp_path / "output").read_text()


def test_every_block_is_run() -> None:
    assert languages().count("python") == len(blocks()) > 0
    assert set(languages()) <= NOT_PYTHON | {"python"}
