"""Loggers: structlog in front of the standard library's `logging`."""

from __future__ import annotations

import logging
import logging.config
from typing import Final

import pytest
import structlog

from eventflow.primitives.loggers import get_logger

logger: Final = get_logger("tests")


@pytest.fixture(autouse=True)
def every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "eventflow")


def test_reserved_keys(caplog: pytest.LogCaptureFixture) -> None:
    """Keys that `logging` uses itself get a trailing underscore."""
    logger.info("m", name="n", message="x", args=1, msg=2, asctime=3, module="mod")
    (record,) = caplog.records
    assert (record.name, record.msg) == ("eventflow.tests", "m")
    assert (record.name_, record.message_, record.args_) == ("n", "x", 1)  # type: ignore[attr-defined]
    assert (record.msg_, record.asctime_, record.module_) == (2, 3, "mod")  # type: ignore[attr-defined]


def test_exceptions(caplog: pytest.LogCaptureFixture) -> None:
    """`exception` adds the traceback; a per cent sign without arguments stays as it is."""
    try:
        raise ValueError("inner")
    except ValueError:
        logger.exception("100% broken")
    assert "100% broken" in caplog.text
    assert "ValueError: inner" in caplog.text


def test_messages_below_the_level_are_not_formatted(caplog: pytest.LogCaptureFixture) -> None:
    """They are dropped before that."""
    caplog.set_level("ERROR", "eventflow")

    class Unformattable:
        def __str__(self) -> str:
            raise AssertionError

    logger.info("%s", Unformattable())
    assert caplog.records == []


def test_structlogs_own_configuration_is_not_touched(caplog: pytest.LogCaptureFixture) -> None:
    """A program's structlog configuration is neither changed nor used."""
    structlog.configure(processors=[lambda *arguments: str(1 / 0)])
    before = structlog.get_config()
    try:
        get_logger("configured").info("logged")
        assert structlog.get_config() == before
    finally:
        structlog.reset_defaults()
    get_logger("unconfigured").info("logged")
    assert not structlog.is_configured()
    assert [record.message for record in caplog.records] == ["logged", "logged"]


def test_a_record_says_who_logged(caplog: pytest.LogCaptureFixture) -> None:
    """File, line and function are those of the caller, or of its caller with `stacklevel`."""

    def inner() -> None:
        logger.info("here")
        logger.bind(a=1).warning("there", stacklevel=2)
        try:
            raise ValueError
        except ValueError:
            logger.exception("failed")

    inner()
    here, there, failed = caplog.records
    assert (here.funcName, here.pathname) == ("inner", __file__)
    assert here.lineno == inner.__code__.co_firstlineno + 1
    assert there.funcName == "test_a_record_says_who_logged"
    assert failed.funcName == "inner"
    assert not hasattr(there, "stacklevel")


def test_extra_becomes_attributes(caplog: pytest.LogCaptureFixture) -> None:
    """As with the standard library's loggers; None is none; what is no mapping stays a value."""
    logger.info("m", extra={"rows": 3, "lineno": 7}, other=4)  # noqa: G101 - it is renamed
    logger.info("m", extra=None)
    logger.info("m", extra=5)
    first, second, third = caplog.records
    assert (first.rows, first.lineno_, first.other) == (3, 7, 4)  # type: ignore[attr-defined]
    assert not hasattr(first, "extra")
    assert not hasattr(second, "extra")
    assert third.extra == 5  # type: ignore[attr-defined]


def test_a_configuration_of_logging_does_not_silence(caplog: pytest.LogCaptureFixture) -> None:
    """`dictConfig` disables the loggers that exist already, by default."""
    existing = logging.getLogger("eventflow.tests")
    before = dict(logging.root.manager.loggerDict)
    others = {name: one.disabled for name, one in before.items() if isinstance(one, logging.Logger)}
    try:
        logging.config.dictConfig({"version": 1})
        assert existing.disabled
        logger.info("heard")
    finally:
        for name, disabled in others.items():
            logging.getLogger(name).disabled = disabled
    assert [record.message for record in caplog.records] == ["heard"]
