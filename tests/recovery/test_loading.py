"""Definitions are found again in another process's files, and nothing in there runs twice."""

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
from eventflow.context import LoadingStopped, without_runs
from eventflow.hooks import references
from eventflow.hooks.declaration import Hook
from eventflow.hooks.references import place, refer
from eventflow.journal.rows import OwnerRow
from eventflow.primitives.callables import qualified_name
from eventflow.recovery import loading
from eventflow.recovery.loading import Reloader, Wanted, move_in


class Owner(Protocol):
    def __call__(self, main: str | None = None, **more: Any) -> OwnerRow: ...


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Have modules, path, arguments and folder as they were, after the test."""
    modules, path, arguments, cwd = dict(sys.modules), list(sys.path), list(sys.argv), Path.cwd()
    yield
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]
    sys.modules.update(modules)
    sys.path[:], sys.argv[:] = path, arguments
    os.chdir(cwd)


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    """Give a function that describes an owner in a folder of its own, and moves in there."""

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
        move_in(row)
        return row

    return describe


def etl(reference: str = "__main__:etl", name: str = "etl", hooks: tuple[str, ...] = ()) -> Wanted:
    return Wanted("flow", reference, name, hooks)


def test_a_script_is_loaded_under_the_name_that_its_guard_tells_from_main(owner: Owner) -> None:
    """The guard of the script is respected, and its names are those of `__main__`."""
    row = owner("@flow\ndef etl(): ...\nif __name__ == '__main__':\n    raise KeyError('ran')\n")

    found = Reloader(row).definition(etl())

    assert found is not None
    assert found.fn.__module__ == "__mp_main__"
    assert qualified_name(found.fn) == "__main__:etl"
    assert sys.modules["__main__"] is sys.modules["__mp_main__"]


def test_loading_stops_where_a_flow_is_called(owner: Owner, tmp_path: Path) -> None:
    """Of a script without the guard counts what is above its first call; nothing runs."""
    row = owner(
        "@flow\ndef etl(): open('ran', 'w')\n"
        "try:\n    etl()\nexcept Exception: open('swallowed', 'w')\n"
        "open('went on', 'w')\n@flow\ndef below(): ...\n"
    )
    reloader = Reloader(row)

    assert reloader.definition(etl()) is not None
    assert reloader.definition(etl("__main__:below", "below")) is None
    assert {one.name for one in tmp_path.iterdir()} == {"script.py"}


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
    """Calls, submissions and maps stop it, also within coroutines."""
    row = owner(
        "import asyncio, threading\n@flow\ndef etl(): ...\n@task\nasync def work(n=0): ...\n"
        f"async def main(): await work()\n{call}\n@flow\ndef below(): ...\n"
    )

    assert Reloader(row).definition(etl()) is not None
    assert Reloader(row).definition(etl("__main__:below", "below")) is None


def test_where_runs_are_refused_hooks_may_still_make_them() -> None:
    """A hook that calls a flow is not what the refusal is for; nor does it last."""

    @flow
    def inner() -> int:
        return 1

    seen = []

    @flow(on_completion=[lambda *_: seen.append(inner())])
    def outer() -> None: ...

    with without_runs(), pytest.raises(LoadingStopped):
        inner()
    with pytest.raises(LoadingStopped), without_runs():
        inner.fn()
        outer()
    assert inner() == 1

    def tell(*_: object) -> None:
        with without_runs():
            seen.append(inner())

    outer.with_options(on_completion=[tell])()
    assert seen == [1]


def test_a_module_run_by_name_finds_what_is_beside_it(owner: Owner, tmp_path: Path) -> None:
    """`python -m pkg.mod` is loaded with its package, so that relative imports work."""
    (tmp_path / "crew").mkdir()
    (tmp_path / "crew/__init__.py").touch()
    (tmp_path / "crew/names.py").write_text("NAME = 'from beside'\n")
    (tmp_path / "crew/job.py").write_text(
        "from eventflow import flow\nfrom .names import NAME\n@flow(name=NAME)\ndef etl(): ...\n"
    )
    row = owner(main_module="crew.job", main_file=str(tmp_path / "crew/job.py"))

    found = Reloader(row).definition(etl(name="from beside"))

    assert found is not None
    assert found.name == "from beside"


def test_the_face_of_a_package_is_loaded_only_when_it_is_named(
    owner: Owner, tmp_path: Path
) -> None:
    """A package's `__main__.py` has no guard: it is left alone unless a definition is in it."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").touch()
    (tmp_path / "app/__main__.py").write_text(
        "from eventflow import flow\nimport os\nos.mkdir('ran')\n@flow\ndef etl(): ...\n"
    )
    reloader = Reloader(owner(main_module="app.__main__"))

    reloader.load_main()
    assert not (tmp_path / "ran").exists()
    assert reloader.definition(etl()) is not None


def test_what_an_archive_starts_with_is_loaded(owner: Owner, tmp_path: Path) -> None:
    """`python app.zip` is loaded from its archive."""
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", "from eventflow import flow\n@flow\ndef etl(): ...\n")

    assert Reloader(owner(main_file="app.zip")).definition(etl()) is not None


def test_a_file_of_an_odd_name_is_found_by_its_path(
    owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that no import finds is referred to with its file, and loaded from there."""
    file = tmp_path / "aside" / "my.odd file.py"
    file.parent.mkdir()
    file.write_text("from eventflow import flow\n@flow\ndef etl(): ...\n")
    module = loading._module("my.odd file", str(file))
    assert module is not None

    text = refer(module.etl).text
    monkeypatch.delitem(sys.modules, "my.odd file")

    assert place(text).file == str(file)
    found = Reloader(owner()).definition(etl(text))
    assert found is not None
    assert found is not module.etl


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

    assert [refer(one).text for one in (main.etl, main.paged, main.called, main.Shop.sell)] == [
        "__main__:etl",
        "__main__:paged",
        "__main__:called",
        "__main__:Shop.sell",
    ]
    assert reloader.definition(etl("__main__:paged")) is main.paged
    assert reloader.definition(etl("__main__:Shop.sell", "sell")) is main.Shop.sell
    # One that no variable holds: its like, by name and hooks.
    assert reloader.definition(etl("__main__:etl#7", hooks=("__main__:call",))) is main.called


def test_a_definition_that_no_variable_holds_has_a_number_of_its_own() -> None:
    """Two flows of one function's calls are two things, and neither is found by name."""

    def make() -> Any:
        @flow
        def inner() -> None: ...

        return inner

    one, other = refer(make()), refer(make())

    assert not one.is_found
    assert one.text != other.text
    assert not place(one.text).is_exact
    assert place(one.text)._replace(number="") == place(other.text)._replace(number="")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import not_there_at_all", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_ends_the_loading_is_said_and_what_is_above_counts(
    owner: Owner, caplog: pytest.LogCaptureFixture, end: str, said: str
) -> None:
    """A file that breaks off is used as far as it went."""
    row = owner(f"@flow\ndef etl(): ...\n{end}\n")

    assert Reloader(row).definition(etl()) is not None
    assert said in caplog.text


def test_what_cannot_be_loaded_at_all_is_said_once(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a file that does not compile nor a module that is gone stops anything."""
    reloader = Reloader(owner("def etl(:\n"))

    assert reloader.definition(etl()) is None
    assert reloader.definition(etl("gone_for_good:etl")) is None
    assert reloader.function("gone_for_good:tell") is None
    assert caplog.text.count("SyntaxError") == 1
    assert caplog.text.count("gone_for_good cannot") == 1


def test_prints_of_a_file_do_not_appear_again(
    owner: Owner, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What a file prints when it is loaded goes to the log, for those who debug."""
    caplog.set_level("DEBUG", "eventflow")

    assert Reloader(owner("print('once only')\n@flow\ndef etl(): ...\n")).definition(etl())

    assert capsys.readouterr().out == ""
    assert "once only" in caplog.text


def test_a_file_that_never_ends_is_left(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading is bounded: what is defined above an endless loop counts."""
    monkeypatch.setattr(loading, "LOADING_SECONDS", 0.05)
    row = owner("@flow\ndef etl(): ...\nwhile True:\n    pass\n")

    assert Reloader(row).definition(etl()) is not None


def test_an_owner_of_no_file_has_nothing_to_load(owner: Owner) -> None:
    """For `python -c` and a notebook there is nothing, and `__main__` stays as it is."""
    main = sys.modules["__main__"]

    assert Reloader(owner()).definition(etl()) is None
    assert sys.modules["__main__"] is main


def test_a_hook_is_found_by_its_identity(owner: Owner) -> None:
    """The function that an identity names is found in its module; a class is none."""
    reloader = Reloader(owner("def tell(*_): ...\nclass Kind: ...\n@flow\ndef etl(): ...\n"))

    found = reloader.function("__main__:tell")

    assert found is not None
    assert Hook(found).id == "__main__:tell"
    assert reloader.function("__main__:Kind") is None
    assert reloader.function("__main__:made.<locals>.tell") is None
    assert reloader.function("an identity of one's own") is None


def test_moving_in_takes_over_folder_arguments_and_path(owner: Owner, tmp_path: Path) -> None:
    """The process is where its owner was; a folder that is gone stops nothing."""
    before = list(sys.path)
    owner(cwd=str(tmp_path / "gone"))
    assert Path.cwd() != tmp_path / "gone"

    owner()

    assert Path.cwd() == tmp_path
    assert sys.argv == ["script.py", "-x"]
    assert sys.path[0] == str(tmp_path)
    assert set(before) <= set(sys.path)


def test_references_are_kept_as_another_process_had_them() -> None:
    """A definition that stands for another's bears its name."""

    @task
    def step() -> None: ...

    references.remember(step, "there:step#4")

    assert refer(step).text == "there:step#4"


def test_a_reference_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time it is only looked up: it is asked for at each run."""

    @flow
    def inner() -> None: ...

    first = refer(inner)
    refused: Callable[[object], str] = lambda _: pytest.fail("asked again")  # noqa: E731
    monkeypatch.setattr(references, "qualified_name", refused)

    assert refer(inner) is first
