"""Lines that are logged in a run: whose they are, and the records that they are kept as.

Every record of `logging` that is made where a run is in force is kept with that run, whatever its
logger, and so is what a run's logger logs anywhere. This is not done by a handler of the root
logger: with one, `logging.basicConfig` would do nothing, and what nobody handles would be shown
nowhere.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Any, Final, cast

from eventflow.context import current_run
from eventflow.eventbus.bus import current_bus
from eventflow.interrupts.masks import BODY, this_thread
from eventflow.interrupts.scopes import active_runs
from eventflow.journal.records import pack, run_hex
from eventflow.journal.rows import LogLine
from eventflow.journal.wal.turns import Turns
from eventflow.journal.wal.writer import Writer
from eventflow.logs import TOLD, bound_in
from eventflow.primitives import forks
from eventflow.primitives.forks import renewed
from eventflow.primitives.loggers import CONTEXT, get_logger, unformatted
from eventflow.primitives.texts import error_text, printable, traceback_text
from eventflow.runs.run import Run
from eventflow.settings import EVENTFLOW_KEPT_LOG_LEVEL, EVENTFLOW_MASK_SECRETS
from eventflow.values.masking import (
    is_secret_name,
    is_secret_value,
    masked_text,
    secrets_in,
    without_secrets,
)

__all__ = ["LogLines", "keep_logs"]

MAX_TEXT: Final = 5_000
"""How many characters are kept of a message, and of a traceback: its beginning and its end."""

MAX_LOGGER: Final = 200
"""How many characters are kept of the name of a logger."""

SKIPPED: Final = 10_000
"""Of how many runs it is known how many lines were not recorded."""

NESTED: Final = 2
"""How deep a line is kept that is logged while another one is: that may be about a failure."""

FAILURES: Final = 20
"""How many different failures are logged."""

_OFF: Final = 1_000_000

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
"""The id of a run."""

# Reentrant: a signal handler or a finalizer may run a flow, wherever it interrupts this thread.
_lock = threading.RLock()
renewed(globals(), "_lock", threading.RLock)

# The method of `logging.Logger`, once `keep_logs` has put another in its place.
_handle: Final[list[Callable[[logging.Logger, logging.LogRecord], None]]] = []
_failures: Final[set[str]] = set()


class _Thread(threading.local):
    """What this thread is doing: the lines that it hands to handlers, and how many it keeps."""

    lines: list[tuple[logging.LogRecord, Any, Run | None]] | None = None
    depth = 0


_thread: Final = _Thread()


def keep_logs() -> None:
    """Have what is logged in runs recorded, from now on."""
    with _lock:
        if not _handle:
            _handle.append(logging.Logger.callHandlers)
            logging.Logger.callHandlers = _handle_and_keep  # type: ignore[assignment, method-assign]


def _handle_and_keep(logger: logging.Logger, record: logging.LogRecord) -> None:
    active, context = current_run.get(), getattr(record, CONTEXT, None)
    if active is None and context is None:
        _handle[0](logger, record)
        return
    line = (record, context, None if active is None else active.run)
    nested, lines = _thread.lines, [line]
    if nested is None:
        _thread.lines = lines
    else:
        # A handler has logged it, which holds a lock: nothing is waited for before it has ended.
        nested.append(line)
    try:
        _handle[0](logger, record)
    finally:
        # Afterwards: a filter of a handler may have removed what is secret.
        if nested is None:
            _thread.lines = None
            for each in lines:
                _keep(*each)


def _keep(record: logging.LogRecord, context: Any, in_force: Run | None) -> None:
    depth = _thread.depth
    if depth >= NESTED or record.name in TOLD:
        return
    mask = this_thread.mask
    is_in_body = mask.phase is BODY
    _thread.depth = depth + 1
    try:
        if is_in_body:
            # An interrupt of the body would leave locks behind.
            mask.mask()
        found = _run_of(context, in_force)
        if found is not None:
            run, number = found
            recorder = None if run is None else run.recorder
            recorder = recorder or current_bus().recorder
            if recorder is not None:
                recorder.record_log(run, number, record)
    except Exception as error:  # noqa: BLE001 - the journal never fails a run
        _log_failure(f"{type(error).__name__}: {error_text(error)}"[:200])
    finally:
        _thread.depth = depth
        if is_in_body:
            mask.unmask(BODY)


def _log_failure(reason: str) -> None:
    if reason not in _failures and len(_failures) < FAILURES:
        # First of all: this line may not be recorded either.
        _failures.add(reason)
        get_logger("journal").error(f"A line that was logged could not be recorded: {reason}")


def _run_of(context: Any, run: Run | None) -> tuple[Run | None, int] | None:
    """Return the run that a line is about, if it executes here, and its number.

    That is the run of its logger, or else the one in force.
    """
    bound = isinstance(context, dict) and (context.get("task_run_id") or context.get("flow_run_id"))
    # The user may have bound anything of this name.
    if not (isinstance(bound, str) and _ID.fullmatch(bound)):
        return None if run is None else (run, run.number)
    number = int(bound.replace("-", ""), 16)
    if run is None or run.number != number:
        run = cast("Run | None", active_runs.get(number))

    return run, number


class LogLines:
    """Makes the records of lines, and appends them.

    The settings in force when it is made decide on the lowest level, and whether secrets are
    masked.
    """

    def __init__(self) -> None:
        level = EVENTFLOW_KEPT_LOG_LEVEL.value()
        self._level: int = _OFF if level == "OFF" else logging.getLevelName(level)
        self._mask = EVENTFLOW_MASK_SECRETS.value()
        # How many lines of a run were not recorded since its last one.
        self._skipped: dict[int, int] = {}
        if level != "OFF":
            keep_logs()
        forks.watch(self)

    def before_fork(self) -> None:
        """Do nothing: no lock is held."""

    def after_fork(self, *, child: bool) -> None:
        """Leave to the parent, in a child, what it has not recorded."""
        if child:
            self._skipped = {}

    def keeps(self, record: logging.LogRecord) -> bool:
        """Return whether a line is of a level that is kept."""
        return record.levelno >= self._level

    def texts_of(
        self, run: Run | None, record: logging.LogRecord
    ) -> tuple[int, int, str, str, str | None]:
        """Return time, level, logger, message and traceback of a line, secrets masked."""
        secrets = _secrets_of(run, by_name=self._mask)
        error = _error_in(record)

        return (
            int(record.created * 1e6),
            record.levelno,
            printable(str(record.name)[:MAX_LOGGER]),
            self._shown(_message_of(record), secrets),
            None if error is None else self._shown(error, secrets),
        )

    def _shown(self, text: str, secrets: set[str]) -> str:
        """Return a text as it is kept: of a long one the beginning and the end."""
        if len(text) <= MAX_TEXT:
            return printable(self._masked(text, secrets))
        half = MAX_TEXT // 2
        # Masked before they are cut: a part of a secret is not recognised.
        head = self._masked(text[:MAX_TEXT], secrets)[:half]
        tail = self._masked(text[-MAX_TEXT:], secrets)[-half:]

        return printable(f"{head}\n… {len(text) - 2 * half:,} characters left out …\n{tail}")

    def _masked(self, text: str, secrets: set[str]) -> str:
        if secrets:
            text = without_secrets(text, secrets)

        return masked_text(text) if self._mask else text

    def append(
        self,
        turns: Turns,
        writer: Callable[[], Writer],
        number: int,
        texts: tuple[int, int, str, str, str | None],
    ) -> None:
        """Append a line of a run, unless so much waits for the journal that it is left out."""
        with turns.free(), turns:
            present = writer()
            with present.lock:
                skipped = self._skipped.pop(number, 0) if self._skipped else 0
                if present.is_behind:
                    if len(self._skipped) < SKIPPED:
                        self._skipped[number] = skipped + 1
                    return
                line = LogLine(run_hex(number), next(present.line_numbers), skipped, *texts)
                present.append(pack("G", line))
        if not present.notified:
            present.notify()


def _message_of(record: logging.LogRecord) -> str:
    """Return the message of a line, and what was bound to its logger."""
    try:
        message = record.getMessage()
        context = getattr(record, CONTEXT, None)
        if not context:
            return message
        return " ".join([message, *(f"{key}={text}" for key, text in bound_in(context, message))])
    except Exception as error:  # noqa: BLE001 - what is logged may do anything
        return unformatted(record.msg, error)


def _error_in(record: logging.LogRecord) -> str | None:
    """Return the traceback of a line, and the stack that was asked for."""
    parts: list[str] = []
    if record.stack_info:
        parts.append(str(record.stack_info))
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        parts.append(traceback_text(error).rstrip())
    elif record.exc_text:
        parts.append(str(record.exc_text))
    else:
        # One that no handler could describe was taken out of the record.
        described = getattr(record, CONTEXT, {}).get("exception")
        parts += [str(described)] if described else []

    return "\n".join(parts) or None


def _secrets_of(run: Run | None, *, by_name: bool) -> set[str]:
    """Return the texts that were passed to a run for secrets, by their types and by their names."""
    values = {} if run is None else run.parameters
    if run is None or not values:
        return set()
    declared = getattr(getattr(run.definition, "parameters", None), "secret_names", ())

    return {
        text
        for name, value in values.items()
        if name in declared or (by_name and is_secret_name(name) and is_secret_value(value))
        for text in secrets_in(value, raw=True)
    }
