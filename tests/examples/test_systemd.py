"""The units for systemd are valid, and call commands that there are."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from eventflow import settings
from eventflow.cli.app import app
from eventflow.settings import SETTINGS

FOLDER = Path(settings.__file__).parents[2] / "examples" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
PROGRAM = "/opt/eventflow/bin/eventflow"


def test_there_is_one_for_each_service() -> None:
    assert [unit.stem for unit in UNITS] == [
        *("eventflow-recover", "eventflow-serve", "eventflow-work@"),
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_valid(unit: Path, tmp_path: Path) -> None:
    """To systemd, where it is there; and its command takes these options."""
    read = ConfigParser(interpolation=None, comment_prefixes="#", strict=True)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read_string(unit.read_text())
    service = read["Service"]
    assert (service["Restart"], service["EnvironmentFile"]) == ("always", "/etc/eventflow.env")
    program, command, *options = shlex.split(service["ExecStart"])
    assert program == PROGRAM
    help_text = CliRunner().invoke(app, [command, "--help"]).output
    assert all(each in help_text for each in options if each.startswith("--"))

    # The program of the unit is not installed here.
    copied = tmp_path / unit.name.replace("@", "@1")
    copied.write_text(unit.read_text().replace(PROGRAM, shutil.which("true") or "/bin/true"))
    if shutil.which("systemd-analyze") is not None:
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(copied)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (verified.returncode, verified.stderr) == (0, "")


def test_the_environment_has_settings_only() -> None:
    lines = (FOLDER / "eventflow.env").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if not line.startswith("#")}

    assert names <= set(SETTINGS)
