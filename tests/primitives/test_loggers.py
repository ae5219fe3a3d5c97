"""Loggers: structlog in front of the standard library's `logging`."""

from __future__ import annotations

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
