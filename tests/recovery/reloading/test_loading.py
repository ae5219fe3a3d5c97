"""Definitions are loaded again from the files of another process, and no flow in them runs."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

from eventflow import flow, task
from eventflow.hooks import references
from eventflow.hooks.references import parse_reference, reference_of
from eventflow.journal.rows import OwnerRow
from eventflow.primitives.callables import qualified_name
from eventflow.recovery.reloading import loading
from eventflow.recovery.reloading.loading import Reloader, Wanted, adopt_environment


class Owner(Protocol):
    def __call__(self, main: str | None = None, **more: Any) -> OwnerRow: ...


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Restore modules, path, arguments and folder after the test."""
    modules, path, arguments, cwd = dict(sys.modules), list(sys.path), list(sys.argv), Path.cwd()
    yield
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]
    sys.modules.update(modules)
    sys.path[:], sys.argv[:] = path, arguments
    os.chdir(cwd)


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    """Return a function that describes an owner with its own folder, and adopts its environment."""

    def describe(main: str | None = None, **more: Any) -> OwnerRow:
        if main is not None:
            (tmp_path / "script.py").write_text("from eventflow import flow, task\n" + main)
        row = OwnerRow(
            id="1",
            host="here",
            boot="b",
            pid=1,
            started=datetime.now(UTC),
            main_file="script.py" if main else None,
            main_module=None,
            argv=("script.py", "-x"),
            cwd=str(tmp_path),
            sys_path=(str(tmp_path),),
        )._replace(**more)
        adopt_environment(row)
        return row

    return describe


def etl(reference: str = "__main__:etl", name: str = "etl") -> Wanted:
    return Wanted("flow", reference, name)


def test_a_script_is_not_loaded_as_main(owner: Owner) -> None:
    """Its guard keeps it from running, but its definitions are those of `__main__`."""
    row = owner("@flow\ndef etl(): ...\nif __name__ == '__main__':\n    raise KeyError('ran')\n")

    definition = Reloader(row).definition(etl())

    assert definition is not None
    assert definition.fn.__module__ == "__mp_main__"
    assert qualified_name(definition.fn) == "__main__:etl"
    assert sys.modules["__main__"] is sys.modules["__mp_main__"]


def test_loading_stops_where_a_flow_is_called(owner: Owner, tmp_path: Path) -> None:
    """What a script without a guard defines above its first call is loaded; nothing runs."""
    row = owner(
        "@flow\ndef etl(): open('ran', 'w')\n"
        "try:\n    etl()\nexcept Exception: open('swallowed', 'w')\n"
        "open('went on', 'w')\n@flow\ndef below(): ...\n"
    )
    reloader = Reloader(row)

    assert reloader.definition(etl()) is not None
    assert reloader.definition(etl("__main__:below", "below")) is None
    assert {path.name for path in tmp_path.iterdir()} == {"script.py"}


@pytest.mark.parametrize(
    "call",
    [
        "work()",
        "work.submit()",
        "work.map([1])",
        "asyncio.run(main())",
        "threading.Thread(target=work).run()",
    ],
)
def test_every_way_to_make_a_run_stops_the_loading(owner: Owner, call: str) -> None:
    """Calls, submissions and maps, also within coroutines."""
    row = owner(
        "import asyncio, threading\n@flow\ndef etl(): ...\n@task\nasync def work(n=0): ...\n"
        f"async def main(): await work()\n{call}\n@flow\ndef below(): ...\n"
    )

    assert Reloader(row).definition(etl()) is not None
    assert Reloader(row).definition(etl("__main__:below", "below")) is None


def test_a_module_that_was_run_by_name_is_loaded_with_its_package(
    owner: Owner, tmp_path: Path
) -> None:
    """The relative imports of `python -m pkg.mod` work."""
    (tmp_path / "crew").mkdir()
    (tmp_path / "crew/__init__.py").touch()
    (tmp_path / "crew/names.py").write_text("NAME = 'from beside'\n")
    (tmp_path / "crew/job.py").write_text(
        "from eventflow import flow\nfrom .names import NAME\n@flow(name=NAME)\ndef etl(): ...\n"
    )
    row = owner(main_module="crew.job", main_file=str(tmp_path / "crew/job.py"))

    definition = Reloader(row).definition(etl(name="from beside"))

    assert definition is not None
    assert definition.name == "from beside"


def test_the_main_of_a_package_is_loaded_only_for_its_definitions(
    owner: Owner, tmp_path: Path
) -> None:
    """A package's `__main__.py` has no guard: it is loaded only if a definition is in it."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").touch()
    (tmp_path / "app/__main__.py").write_text(
        "from eventflow import flow\nimport os\nos.mkdir('ran')\n@flow\ndef etl(): ...\n"
    )
    reloader = Reloader(owner(main_module="app.__main__"))

    reloader.load_main()
    assert not (tmp_path / "ran").exists()
    assert reloader.definition(etl()) is not None


def test_the_main_of_an_archive_is_loaded(owner: Owner, tmp_path: Path) -> None:
    """Of `python app.zip`, from the archive."""
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", "from eventflow import flow\n@flow\ndef etl(): ...\n")

    assert Reloader(owner(main_file="app.zip")).definition(etl()) is not None


def test_a_file_that_cannot_be_imported_is_loaded_by_its_path(
    owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference of a definition in such a module has the path of its file."""
    file = tmp_path / "aside" / "my.odd file.py"
    file.parent.mkdir()
    file.write_text("from eventflow import flow\n@flow\ndef etl(): ...\n")
    module = Reloader(owner()).module("my.odd file", str(file))
    assert module is not None

    text = reference_of(module.etl).text
    monkeypatch.delitem(sys.modules, "my.odd file")

    assert parse_reference(text).file == str(file)
    definition = Reloader(owner()).definition(etl(text))
    assert definition is not None
    assert definition is not module.etl


def test_copies_are_told_apart_by_their_variables(owner: Owner) -> None:
    """A copy made by `with_options` is found under its own variable, not its function's name."""
    row = owner(
        "@flow\ndef etl(): ...\ndef page(*_): ...\ndef call(*_): ...\n"
        "paged = etl.with_options(on_failure=[page])\n"
        "called = etl.with_options(on_failure=[call])\n"
        "class Shop:\n    @flow\n    def sell(self): ...\n"
    )
    reloader = Reloader(row)
    main = reloader.module("__main__")
    assert main is not None

    assert [
        reference_of(made).text for made in (main.etl, main.paged, main.called, main.Shop.sell)
    ] == [
        "__main__:etl",
        "__main__:paged",
        "__main__:called",
        "__main__:Shop.sell",
    ]
    assert reloader.definition(etl("__main__:paged")) is main.paged
    assert reloader.definition(etl("__main__:Shop.sell", "sell")) is main.Shop.sell
    # One that no variable holds: one with its name and function.
    found = reloader.definition(etl("__main__:etl#7"))
    assert found is not None
    assert (found.name, found.fn) == ("etl", main.etl.fn)


def test_a_flow_is_found_by_the_name_of_its_function(owner: Owner) -> None:
    """As an earlier version has recorded it; a copy that is named so comes first."""
    row = owner(
        "@flow\ndef load_all(): ...\nfirst = load_all.with_options(tags={'a'})\n"
        "@flow\ndef load_one(): ...\nexact = load_one.with_options(name='load_one')\n"
    )
    reloader = Reloader(row)

    found = reloader.definition(etl("__main__:load_all#7", "load_all"))
    assert found is not None
    assert found.name == "load-all"
    exact = reloader.definition(etl("__main__:load_one#7", "load_one"))
    assert exact is not None
    assert exact.name == "load_one"
    assert reloader.definition(etl("__main__:load_two#7", "load_two")) is None


def test_a_definition_that_no_variable_holds_has_a_number() -> None:
    """Two flows made by the same function differ, and neither is found by name."""

    def make() -> Any:
        @flow
        def inner() -> None: ...

        return inner

    first, other = reference_of(make()), reference_of(make())

    assert not first.is_loadable
    assert first.text != other.text
    assert not parse_reference(first.text).is_exact
    assert parse_reference(first.text)._replace(number="") == parse_reference(other.text)._replace(
        number=""
    )


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import not_there_at_all", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_an_error_ends_the_loading_and_is_logged(
    owner: Owner, caplog: pytest.LogCaptureFixture, end: str, message: str
) -> None:
    """What the file defines above it is used."""
    row = owner(f"@flow\ndef etl(): ...\n{end}\n")

    assert Reloader(row).definition(etl()) is not None
    assert message in caplog.text


def test_a_module_that_cannot_be_loaded_is_logged_once(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a file that does not compile nor a missing module is an error."""
    reloader = Reloader(owner("def etl(:\n"))

    assert reloader.definition(etl()) is None
    assert reloader.definition(etl("gone_for_good:etl")) is None
    assert caplog.text.count("SyntaxError") == 1
    assert caplog.text.count("gone_for_good cannot") == 1


def test_prints_of_a_file_are_only_logged(
    owner: Owner, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What a file prints while it is loaded goes to the debug log, not to the output."""
    caplog.set_level("DEBUG", "eventflow")

    assert Reloader(owner("print('once only')\n@flow\ndef etl(): ...\n")).definition(etl())

    assert capsys.readouterr().out == ""
    assert "once only" in caplog.text


def test_the_time_for_loading_is_limited(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file defines above an endless wait is used; the reason is known."""
    monkeypatch.setattr(loading, "LOADING_SECONDS", 0.05)
    row = owner("import threading\n@flow\ndef etl(): ...\nthreading.Event().wait()\n")
    reloader = Reloader(row)

    assert reloader.definition(etl()) is not None
    assert reloader.problem("__main__") == "it takes more than 0.05 s"


def test_an_owner_without_a_file_has_nothing_to_load(owner: Owner) -> None:
    """Such as `python -c` and a notebook; `__main__` stays as it is."""
    main = sys.modules["__main__"]

    assert Reloader(owner()).definition(etl()) is None
    assert sys.modules["__main__"] is main


def test_folder_arguments_and_path_of_an_owner_are_adopted(owner: Owner, tmp_path: Path) -> None:
    """The process is where its owner was; a deleted folder is no error."""
    before = list(sys.path)
    owner(cwd=str(tmp_path / "gone"))
    assert Path.cwd() != tmp_path / "gone"

    owner()

    assert Path.cwd() == tmp_path
    assert sys.argv == ["script.py", "-x"]
    assert sys.path[0] == str(tmp_path)
    assert set(before) <= set(sys.path)


def test_a_reference_of_another_process_can_be_kept() -> None:
    """A definition that stands for that process's has the same reference."""

    @task
    def step() -> None: ...

    references.set_reference(step, "there:step#4")

    assert reference_of(step).text == "there:step#4"


def test_a_reference_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is needed at each run, and looked up from the second time on."""

    @flow
    def inner() -> None: ...

    first = reference_of(inner)
    refused: Callable[[object], str] = lambda _: pytest.fail("asked again")  # noqa: E731
    monkeypatch.setattr(references, "qualified_name", refused)

    assert reference_of(inner) is first
