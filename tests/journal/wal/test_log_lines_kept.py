"""What is kept of the lines that are logged in runs, and that none fails a run."""

from __future__ import annotations

import contextvars
import logging

import pytest
from pydantic import SecretStr

from eventflow import flow, get_run_logger
from eventflow.errors import JournalError
from eventflow.journal.wal import appender
from eventflow.settings import EVENTFLOW_KEPT_LOG_LEVEL, temporary_settings
from eventflow.testing import Isolated, isolated
from eventflow.wiring import recorder
from tests.journal.logged import lines_of, logged_by, messages
from tests.journal.reading import the_recorder

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

lib = logging.getLogger("lib.io")


@pytest.fixture(autouse=True)
def every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "eventflow")


# -- what is kept --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "kept"),
    [("DEBUG", "dwe"), ("INFO", "we"), ("ERROR", "e"), ("OFF", "")],
)
def test_lines_below_a_level_are_not_kept(level: str, kept: str) -> None:
    """By the setting in force at the first run; what a logger's own level hides is not either."""

    @flow
    def main() -> None:
        lib.debug("d")
        lib.warning("w")
        lib.error("e")
        logging.getLogger("lib.hidden").info("h")

    lib.setLevel("DEBUG")
    try:
        with temporary_settings({EVENTFLOW_KEPT_LOG_LEVEL: level}), isolated():
            main()
            assert "".join(messages("main")) == kept
    finally:
        lib.setLevel(logging.NOTSET)


def test_what_is_filtered_out_is_not_kept() -> None:
    """A filter of a logger hides a line; one of a handler may remove what is secret."""

    class Redacts(logging.Handler):
        def filter(self, record: logging.LogRecord) -> bool:
            record.msg, record.args = str(record.msg).replace("4711", "#"), ()
            return True

        def emit(self, record: logging.LogRecord) -> None:
            pass

    def hides(record: logging.LogRecord) -> bool:
        return record.msg != "hidden"

    @flow
    def main() -> None:
        lib.warning("hidden")
        lib.warning("card 4711")

    handler = Redacts()
    lib.addHandler(handler)
    lib.addFilter(hides)
    try:
        main()
    finally:
        lib.removeFilter(hides)
        lib.removeHandler(handler)

    assert messages("main") == ["card #"]


def test_lines_that_reach_no_handler_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a logger that does not propagate; and logging is configured as before."""

    @flow
    def main() -> None:
        monkeypatch.setattr(logging.root, "handlers", [])
        assert not lib.hasHandlers()
        lib.warning("alone")
        logging.basicConfig(level="INFO")
        assert len(logging.root.handlers) == 1

    monkeypatch.setattr(lib, "propagate", False)
    level = logging.root.level
    try:
        main()
    finally:
        logging.root.setLevel(level)

    assert messages("main") == ["alone"]


def test_reports_of_runs_are_not_kept(restored_logger: None) -> None:
    """Their events tell the same."""
    logging.getLogger("eventflow").setLevel("INFO")

    @flow
    def main() -> None:
        pass

    main()

    assert logged_by() == {}


@pytest.mark.parametrize("durability", ["off", "process"])
def test_nothing_is_kept_without_a_journal(durability: str) -> None:
    """And nothing is asked of a run's lines."""

    @flow
    def main() -> None:
        lib.warning("gone")

    with temporary_settings({"durability": durability}), isolated() as block:
        main()
        attached = recorder()
        assert (attached is None) == (durability == "off")
        if durability == "off":
            assert [*block.home.iterdir()] == []
        else:
            assert messages("main") == ["gone"]


# -- what they hold ------------------------------------------------------------------------------


class Hostile:
    """Raises whatever it is asked for."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_a_line_that_cannot_be_formatted_fails_no_run() -> None:
    """It is kept with what is known of it."""

    @flow
    def main() -> int:
        lib.warning("%d rows", "x")
        lib.warning("%s", Hostile())
        lib.warning(Hostile())
        get_run_logger().warning("%d rows", "y")
        get_run_logger().warning("%s %s", 1)
        get_run_logger().warning("bound", value=Hostile())
        return 7

    logging.raiseExceptions = False
    try:
        assert main() == 7
    finally:
        logging.raiseExceptions = True

    found = messages("main")
    assert [text.partition(" (its arguments could not be filled in: ")[0] for text in found] == [
        *("%d rows", "%s", "<a Hostile>", "%d rows", "%s %s", "bound"),
    ]
    assert all("Error: " in text for text in found)


def test_a_text_of_any_kind_is_kept() -> None:
    """Of several lines, with what no encoding and no database has."""

    @flow
    def main() -> None:
        lib.warning("one\ntwo \ud800 \x1b[31m\0")

    main()

    assert messages("main") == ["one\ntwo \\ud800 \x1b[31m\0"]


def test_a_long_text_is_cut_in_the_middle() -> None:
    """A message as well as a traceback: both ends tell most."""

    @flow
    def main() -> None:
        lib.warning("a" * 20_000 + "b" * 20_000)
        try:
            raise ValueError("c" * 50_000 + "end")
        except ValueError:
            lib.exception("failed")

    main()

    long, failed = lines_of("main")
    assert long.message == f"{'a' * 2500}\n… 35,000 characters left out …\n{'b' * 2500}"
    assert failed.error is not None
    assert failed.error.startswith("Traceback")
    assert failed.error.endswith("cend")
    assert len(failed.error) < 5_100


class Undescribable(Exception):
    """Raises where a handler would describe it."""

    @property
    def __cause__(self) -> None:  # type: ignore[override]
        raise RuntimeError("no cause")


def test_what_is_known_of_an_error_is_kept() -> None:
    """Its traceback, or a text that was made of it; and the stack where that is asked for."""

    @flow
    def main() -> None:
        lib.warning("stack", stack_info=True)
        known = {"msg": "text", "levelno": logging.WARNING, "exc_text": "ValueError: as text"}
        lib.handle(logging.makeLogRecord(known))
        get_run_logger().error("odd", exc_info=Undescribable("x"))
        lib.error("odd as well", exc_info=Undescribable("y"))

    logging.raiseExceptions = False
    try:
        main()
    finally:
        logging.raiseExceptions = True

    stack, *errors = [str(line.error) for line in lines_of("main")]
    assert stack.startswith("Stack (most recent call last):")
    assert [error.splitlines()[-1] for error in errors] == [
        *("ValueError: as text", "Undescribable: x", "Undescribable: y"),
    ]


def test_secrets_are_masked() -> None:
    """By names, in URLs, and those that were passed to the run for a secret parameter."""

    @flow
    def main(url: str, api_key: str, rows: int) -> None:
        lib.warning("GET https://me:hunter2@host/x")
        lib.warning("password=hunter2 for you")
        lib.warning("calling with %s", api_key)
        get_run_logger().warning("login", token="hunter2", rows=rows)
        try:
            raise ValueError(f"{api_key} is refused")
        except ValueError:
            lib.exception("failed")

    main("x", "sk-hunter2", 3)

    lines = lines_of("main")
    assert "hunter2" not in str(lines)
    assert [line.message for line in lines] == [
        "GET https://********@host/x",
        "password=******** for you",
        "calling with ********",
        "login token=******** rows=3",
        "failed",
    ]
    assert "******** is refused" in str(lines[-1].error)


def test_secrets_by_names_are_kept_where_that_is_set() -> None:
    """As with everything that is recorded; those of types for secrets are masked all the same."""

    @flow
    def main(key: SecretStr) -> None:
        lib.warning("password=hunter2")
        lib.warning("calling with %s", key.get_secret_value())

    with temporary_settings({"mask_secrets": False}), isolated():
        main(SecretStr("sk-4711"))
        assert messages("main") == ["password=hunter2", "calling with ********"]


# -- a journal in trouble ------------------------------------------------------------------------


def test_lines_leave_the_room_to_runs_while_the_journal_is_behind(
    eventflow_isolated: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many are left out is known; later ones are kept again."""

    @flow
    def main() -> None:
        lib.warning("first")
        monkeypatch.setattr(appender, "BEHIND", 0)
        for _ in range(3):
            lib.warning("left out")
        monkeypatch.undo()
        lib.warning("last")

    main()

    assert [(line.sequence, line.message) for line in lines_of("main")] == [
        (1, "first"),
        (5, "last"),
    ]


def test_a_failure_to_keep_a_line_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails no run, and does not go round in a circle."""

    @flow
    def main() -> int:
        def fails(*_: object) -> None:
            raise JournalError("no line today")

        monkeypatch.setattr(the_recorder(), "record_log", fails)
        for _ in range(3):
            lib.warning("x")
        return 7

    assert main() == 7
    told = [each for each in caplog.messages if "could not be recorded" in each]
    assert told == ["A line that was logged could not be recorded: JournalError: no line today"]


def test_a_line_after_the_journal_was_left_is_not_kept() -> None:
    """A thread may go on longer than what it belongs to: that begins no owner."""
    contexts: list[contextvars.Context] = []

    @flow
    def main() -> None:
        contexts.append(contextvars.copy_context())

    with isolated() as block:
        main()
        home = block.home
    contexts[0].run(lib.warning, "late")

    assert not home.exists()
