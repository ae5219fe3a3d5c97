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
SECONDS_AT_MOST = 60

# A fence opens every other time; what opens it names the language.
FENCE = re.compile(r"^\s*(?:```|~~~)(.*)$", re.MULTILINE)
# Blocks in these are read, or pasted into a shell; `.ci/run` pastes the marked ones.
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

    # A file, not a pipe: a process that the block leaves behind would hold a pipe open.
    with (tmp_path / "output").open("w") as output:
        ended = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env=os.environ | home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS_AT_MOST,
            check=False,
        )

    assert ended.returncode == 0, (tmp_path / "output").read_text()


def test_no_block_is_passed_over() -> None:
    assert languages().count("python") == len(blocks()) > 0
    assert set(languages()) <= NOT_PYTHON | {"python"}
