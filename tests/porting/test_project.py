"""The files of a project: which are ported, and what they know of each other."""

from __future__ import annotations

from pathlib import Path

from eventflow.porting.project import port_project

SOURCE = "from prefect import flow\n\n\n@flow\ndef etl(): ...\n"


def test_files_of_folders_are_found(tmp_path: Path) -> None:
    """Once each; not what is hidden, nor environments, nor what is no Python."""
    for name in ("a.py", "b/c.py", ".git/d.py", "env/e.py", "env/pyvenv.cfg", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(SOURCE)
    (tmp_path / "loop").symlink_to(tmp_path)
    found = port_project([tmp_path, tmp_path / "a.py", tmp_path / "f.txt"])

    assert [str(file.path.relative_to(tmp_path)) for file in found] == ["a.py", "b/c.py", "f.txt"]


def test_nothing_is_written_unless_it_is_asked_for(tmp_path: Path) -> None:
    """And only what has changed."""
    flows, other = tmp_path / "flows.py", tmp_path / "other.py"
    flows.write_text(SOURCE)
    other.write_text("x = 1\n")
    flows.chmod(0o750)
    before = other.stat().st_mtime_ns

    assert [file.is_changed for file in port_project([tmp_path])] == [True, False]
    assert flows.read_text() == SOURCE
    list(port_project([tmp_path], write=True))
    assert flows.read_text() == SOURCE.replace("prefect", "eventflow")
    assert flows.stat().st_mode & 0o777 == 0o750
    assert other.stat().st_mtime_ns == before


def test_what_a_file_imports_from_another_is_known(tmp_path: Path) -> None:
    """So the deployment of a flow is told also where nothing of Prefect is imported."""
    (tmp_path / "flows.py").write_text(SOURCE)
    (tmp_path / "deploy.py").write_text(
        "import flows\nfrom flows import etl\netl.serve()\nflows.etl.deploy()\netl2.serve()\n"
    )
    deploy, _ = port_project([tmp_path])

    assert [(left.line, left.what) for left in deploy.left] == [
        (3, "etl.serve"),
        (4, "flows.etl.deploy"),
    ]


DEPLOYMENTS = """\
name: flows
pull:
- prefect.deployments.steps.git_clone:
    repository: https://github.com/example/flows
deployments:
- name: nightly
  entrypoint: flows.py:etl
  schedules:
  - cron: "0 3 * * *"
  work_pool:
    name: kubernetes
"""


def test_files_that_are_no_python_are_left(tmp_path: Path) -> None:
    """Deployments, settings, and notebooks that name Prefect; nothing of them is rewritten."""
    (tmp_path / "prefect.yaml").write_text(DEPLOYMENTS)
    (tmp_path / "prefect.toml").write_text("# mine\n[logging]\nlevel = 'DEBUG'\n")
    (tmp_path / "a.ipynb").write_text('{"source":\n "from prefect import flow"}')
    (tmp_path / "b.ipynb").write_text("{}")
    found = {
        file.path.name: [(left.line, left.what) for left in file.left]
        for file in port_project([tmp_path], write=True)
        if not file.is_changed
    }

    assert found == {
        "a.ipynb": [(2, "a notebook")],
        "b.ipynb": [],
        "prefect.toml": [(3, "level")],
        "prefect.yaml": [
            (2, "pull:"),
            (7, "entrypoint: flows.py:etl"),
            (8, "schedules:"),
            (10, "work_pool:"),
        ],
    }


def test_a_name_that_another_file_imports_is_kept(tmp_path: Path) -> None:
    """It is imported by its new name, and called as before."""
    (tmp_path / "config.py").write_text("from prefect.settings import PREFECT_HOME\n")
    # A string that Python warns of is nothing that could be said here.
    (tmp_path / "etl.py").write_text("from config import PREFECT_HOME\nx = '\\d'\n")
    config, etl = port_project([tmp_path])

    assert config.after == b"from eventflow.settings import EVENTFLOW_HOME as PREFECT_HOME\n"
    assert not etl.is_changed


def test_lines_are_those_of_the_file_as_it_is(tmp_path: Path) -> None:
    """Of the written one, if it was written."""
    file = tmp_path / "flows.py"
    file.write_text("from prefect import flow, serve\nserve()\n")

    (only,) = port_project([file])
    assert [left.line for left in only.left] == [1, 2]
    (only,) = port_project([file], write=True)
    assert [left.line for left in only.left] == [2, 3]


def test_the_change_as_a_diff(tmp_path: Path) -> None:
    file = tmp_path / "flows.py"
    file.write_text("x = 1\nfrom prefect import flow")
    (only,) = port_project([file])

    assert only.diff().splitlines()[2:] == [
        "@@ -1,2 +1,2 @@",
        " x = 1",
        "-from prefect import flow",
        "+from eventflow import flow",
    ]
