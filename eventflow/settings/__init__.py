"""The settings of eventflow: one object per setting, read from four places in a fixed order.

A setting is looked up anew at each `value()`: in `temporary_settings`, in the environment, in
`$EVENTFLOW_HOME/config.toml`, and at last its default. An empty environment variable counts as
not set. In the file a key is spelled like the setting, in any case, with or without the
`EVENTFLOW_` prefix:

    api_url = "https://flows.example.com"
    guardian = false
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from eventflow.errors import HomeError, SettingError
from eventflow.primitives.private_files import make_folder
from eventflow.settings import config_file
from eventflow.settings.config_file import full_name, hint_for
from eventflow.settings.parsing import (
    at_least,
    choice,
    fernet_key,
    flag,
    folder,
    host,
    journal_url,
    port,
    positive,
    served_at,
    token,
    web_url,
    whole,
)

__all__ = [
    "EVENTFLOW_API_URL",
    "EVENTFLOW_CANCEL_SECONDS",
    "EVENTFLOW_DURABILITY",
    "EVENTFLOW_GUARDIAN",
    "EVENTFLOW_GUARDIAN_GRACE_SECONDS",
    "EVENTFLOW_HOME",
    "EVENTFLOW_JOURNAL_URL",
    "EVENTFLOW_KEPT_LOG_BYTES",
    "EVENTFLOW_KEPT_LOG_LEVEL",
    "EVENTFLOW_LEASE_SECONDS",
    "EVENTFLOW_LOG_FORMAT",
    "EVENTFLOW_LOG_LEVEL",
    "EVENTFLOW_MASK_SECRETS",
    "EVENTFLOW_PARAMETERS_BYTES",
    "EVENTFLOW_RECOVERY_HOOK_SECONDS",
    "EVENTFLOW_RETENTION_BYTES",
    "EVENTFLOW_RETENTION_DAYS",
    "EVENTFLOW_SECRET_KEY",
    "EVENTFLOW_UI_HOST",
    "EVENTFLOW_UI_PORT",
    "EVENTFLOW_UI_TOKEN",
    "SETTINGS",
    "Durability",
    "LogFormat",
    "LogLevel",
    "Setting",
    "are_overridden",
    "home",
    "temporary_settings",
]

Durability = Literal["process", "power", "off"]
LogFormat = Literal["console", "json"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

T = TypeVar("T")

MASK = "********"
CONFIG_FILE = "config.toml"
FROM_OVERRIDE = "temporary_settings"
FROM_ENVIRONMENT = "the environment"
FROM_DEFAULT = "the default"

# Userinfo and password parameters of a URL, which must not appear in an error or on a page.
CREDENTIALS = re.compile(r"(?<=://).+(?=@)|(?<=password=)[^&\s]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Setting(Generic[T]):
    """One setting: its name, what it means, what it may be, and how to read it."""

    name: str
    meaning: str
    allowed: str
    parse: Callable[[str], T]
    default: Callable[[], T]
    secret: bool = False
    in_file: bool = True

    def value(self) -> T:
        """Return the value in force now.

        Raises:
            SettingError: the setting cannot have that value.
            ConfigurationError: the config file cannot be read.
        """
        raw, source = self._raw()
        return self.default() if source == FROM_DEFAULT else self._parsed(raw, source)

    def source(self) -> str:
        """Return where the value in force comes from.

        Raises:
            ConfigurationError: the config file cannot be read.
        """
        return self._raw()[1]

    def shown(self) -> str:
        """Return the value in force as text for people, with every secret in it masked.

        Raises:
            SettingError: the setting cannot have that value.
            ConfigurationError: the config file cannot be read.
        """
        return str(self._masked(self.value()))

    def __repr__(self) -> str:
        return f"<Setting {self.name}>"

    def _raw(self) -> tuple[object, str]:
        for layer in reversed(_layers):
            if self.name in layer:
                raw = layer[self.name]
                return raw, FROM_DEFAULT if raw is None else FROM_OVERRIDE

        given = os.environ.get(self.name, "")
        if given.strip():
            return given, FROM_ENVIRONMENT

        return self._raw_in_file() if self.in_file else (None, FROM_DEFAULT)

    def _raw_in_file(self) -> tuple[object, str]:
        path = _config_path(EVENTFLOW_HOME.value())
        config = _config(config_file.read_document(path))
        return (config[self.name], path) if self.name in config else (None, FROM_DEFAULT)

    def _parsed(self, raw: object, source: str) -> T:
        if not isinstance(raw, str | int | float | os.PathLike):
            raise SettingError(self.name, self._masked(raw), self.allowed, source)

        try:
            return self.parse(str(raw).strip())
        except ValueError:
            # The cause is left out: its message may quote a secret.
            raise SettingError(self.name, self._masked(raw), self.allowed, source) from None

    def _masked(self, value: object) -> object:
        if self.secret:
            return value if value is None else MASK

        return CREDENTIALS.sub(MASK, value) if isinstance(value, str) else value


@contextmanager
def temporary_settings(values: Mapping[Any, object]) -> Iterator[None]:
    """Put `values` in force, over everything else, until the block ends; for tests.

    The keys are settings, or their names; a value of None puts the setting's default in force.
    The values hold for the whole process, every thread included; blocks nest.

    Raises:
        SettingError: a name is not that of a setting, or a value is not one it can have.
    """
    layer = dict(_checked(key, raw) for key, raw in values.items())
    _layers.append(layer)
    try:
        yield
    finally:
        # By identity: another thread may have put an equal layer in force.
        _layers[:] = [other for other in _layers if other is not layer]


def are_overridden() -> bool:
    """Return whether a `temporary_settings` is in force."""
    return bool(_layers)


def home() -> Path:
    """Return the folder that holds everything eventflow keeps; make it (mode 0700) if need be.

    A folder that exists keeps its mode.

    Raises:
        HomeError: the folder cannot be made, is not a folder, or cannot be written to.
    """
    folder = EVENTFLOW_HOME.value()
    try:
        make_folder(folder)
    except FileExistsError:
        raise HomeError(folder, "it is a file, not a folder") from None
    except OSError as error:
        raise HomeError(folder, error.strerror or str(error)) from error

    if not os.access(folder, os.W_OK | os.X_OK):
        raise HomeError(folder, "it is not writable")

    return folder


_layers: list[Mapping[str, object]] = []


def _checked(key: Setting[Any] | str, raw: object) -> tuple[str, object]:
    name = key.name if isinstance(key, Setting) else full_name(key)
    setting = SETTINGS.get(name)
    if setting is None:
        raise SettingError(
            "The name of a setting",
            str(key),
            f"one of {', '.join(SETTINGS)}{hint_for(name, SETTINGS)}",
        )

    if raw is not None:
        setting._parsed(raw, FROM_OVERRIDE)  # noqa: SLF001 - same module, checked ahead of use

    return name, raw


@lru_cache(maxsize=4)
def _config_path(folder: Path) -> str:
    return str(folder / CONFIG_FILE)


@lru_cache(maxsize=4)
def _config(document: config_file.Document) -> Mapping[str, object]:
    elsewhere = {name for name, setting in SETTINGS.items() if not setting.in_file}
    return config_file.values_in(document, SETTINGS, elsewhere)


EVENTFLOW_HOME: Setting[Path] = Setting(
    name="EVENTFLOW_HOME",
    meaning="The folder that holds the journal, the blocks, their key and config.toml.",
    allowed="the path of a folder",
    parse=folder,
    default=lambda: folder("~/.eventflow"),
    in_file=False,
)
EVENTFLOW_JOURNAL_URL: Setting[str] = Setting(
    name="EVENTFLOW_JOURNAL_URL",
    meaning="Where every transition is recorded.",
    allowed="sqlite:///<path>, postgresql://<...> or memory://",
    parse=journal_url,
    default=lambda: f"sqlite:///{EVENTFLOW_HOME.value().as_posix()}/journal.db",
)
EVENTFLOW_DURABILITY: Setting[Durability] = Setting(
    name="EVENTFLOW_DURABILITY",
    meaning="What a recorded transition survives: the death of the process, or a loss of power.",
    allowed="'process', 'power' or 'off'",
    parse=choice("process", "power", "off"),
    default=lambda: "process",
)
EVENTFLOW_GUARDIAN: Setting[bool] = Setting(
    name="EVENTFLOW_GUARDIAN",
    meaning="Whether a small process outlives this one to run the hooks it still owes.",
    allowed="a boolean: true or false, yes or no, on or off, 1 or 0",
    parse=flag,
    default=lambda: True,
)
EVENTFLOW_GUARDIAN_GRACE_SECONDS: Setting[float] = Setting(
    name="EVENTFLOW_GUARDIAN_GRACE_SECONDS",
    meaning="After how long the guardian delivers what its own process, being stuck, does not.",
    allowed="a number of seconds, more than 0",
    parse=positive,
    default=lambda: 5.0,
)
EVENTFLOW_LEASE_SECONDS: Setting[float] = Setting(
    name="EVENTFLOW_LEASE_SECONDS",
    meaning="How long a process (PostgreSQL) or a worker may be silent before others take over.",
    allowed="a number of seconds, more than 0",
    parse=positive,
    default=lambda: 15.0,
)
EVENTFLOW_CANCEL_SECONDS: Setting[float] = Setting(
    name="EVENTFLOW_CANCEL_SECONDS",
    meaning="How long a cancelled body may go on before its run is given up as Crashed.",
    allowed="a number of seconds, more than 0",
    parse=positive,
    default=lambda: 30.0,
)
EVENTFLOW_RECOVERY_HOOK_SECONDS: Setting[float] = Setting(
    name="EVENTFLOW_RECOVERY_HOOK_SECONDS",
    meaning="How long a hook without a timeout of its own may take in a recovery.",
    allowed="a number of seconds, more than 0",
    parse=positive,
    default=lambda: 600.0,
)
EVENTFLOW_RETENTION_DAYS: Setting[float] = Setting(
    name="EVENTFLOW_RETENTION_DAYS",
    meaning="How long the journal keeps a run that has ended and is owed nothing.",
    allowed="a number of days, more than 0",
    parse=positive,
    default=lambda: 30.0,
)
EVENTFLOW_RETENTION_BYTES: Setting[int] = Setting(
    name="EVENTFLOW_RETENTION_BYTES",
    meaning="How large the journal may grow before its oldest finished runs are deleted.",
    allowed="a whole number of bytes, more than 0",
    parse=whole,
    default=lambda: 2 * 2**30,
)
EVENTFLOW_PARAMETERS_BYTES: Setting[int] = Setting(
    name="EVENTFLOW_PARAMETERS_BYTES",
    meaning="How much is recorded of a run's parameters; one that is longer does not come back.",
    allowed="a whole number of bytes, at least 1000",
    parse=at_least(1000),
    default=lambda: 100_000,
)
EVENTFLOW_MASK_SECRETS: Setting[bool] = Setting(
    name="EVENTFLOW_MASK_SECRETS",
    meaning="Whether what is called like a secret, and credentials in URLs, are not recorded.",
    allowed="a boolean: true or false, yes or no, on or off, 1 or 0",
    parse=flag,
    default=lambda: True,
)
EVENTFLOW_API_URL: Setting[str] = Setting(
    name="EVENTFLOW_API_URL",
    meaning="The address of the dashboard, for links to a run's page.",
    allowed="an http:// or https:// URL without query or fragment",
    parse=web_url,
    # Port 0 is another one at each start.
    default=lambda: served_at(EVENTFLOW_UI_HOST.value(), EVENTFLOW_UI_PORT.value() or 4200),
)
EVENTFLOW_LOG_LEVEL: Setting[LogLevel] = Setting(
    name="EVENTFLOW_LOG_LEVEL",
    meaning="The lowest level that is logged.",
    allowed="'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'",
    parse=choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    default=lambda: "INFO",
)
EVENTFLOW_KEPT_LOG_LEVEL: Setting[LogLevel | Literal["OFF"]] = Setting(
    name="EVENTFLOW_KEPT_LOG_LEVEL",
    meaning="The lowest level of what is logged in a run that the journal keeps; OFF keeps none.",
    allowed="'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL' or 'OFF'",
    parse=choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OFF"),
    default=EVENTFLOW_LOG_LEVEL.value,
)
EVENTFLOW_KEPT_LOG_BYTES: Setting[int] = Setting(
    name="EVENTFLOW_KEPT_LOG_BYTES",
    meaning="How much the lines of all runs may take before those of the oldest are deleted.",
    allowed="a whole number of bytes, more than 0",
    parse=whole,
    default=lambda: 256 * 2**20,
)
EVENTFLOW_LOG_FORMAT: Setting[LogFormat] = Setting(
    name="EVENTFLOW_LOG_FORMAT",
    meaning="How logs look: lines for people, or one JSON object a line.",
    allowed="'console' or 'json'",
    parse=choice("console", "json"),
    default=lambda: "console",
)
EVENTFLOW_SECRET_KEY: Setting[str | None] = Setting(
    name="EVENTFLOW_SECRET_KEY",
    meaning="The key that encrypts the secrets of blocks; without it, a key file in the home.",
    allowed="a Fernet key: 32 bytes in url-safe base64, 44 characters",
    parse=fernet_key,
    default=lambda: None,
    secret=True,
)
EVENTFLOW_UI_HOST: Setting[str] = Setting(
    name="EVENTFLOW_UI_HOST",
    meaning="The address on which `eventflow serve` listens.",
    allowed="a host name or an IP address",
    parse=host,
    default=lambda: "127.0.0.1",
)
EVENTFLOW_UI_PORT: Setting[int] = Setting(
    name="EVENTFLOW_UI_PORT",
    meaning="The port on which `eventflow serve` listens; 0 takes a free one.",
    allowed="a whole number from 0 to 65535",
    parse=port,
    default=lambda: 4200,
)
EVENTFLOW_UI_TOKEN: Setting[str | None] = Setting(
    name="EVENTFLOW_UI_TOKEN",
    meaning="The token that `eventflow serve` asks for; without it, a new one at each start.",
    allowed="ASCII characters without spaces",
    parse=token,
    default=lambda: None,
    secret=True,
)

# Collected, not listed, so that a new setting cannot be forgotten.
SETTINGS: Mapping[str, Setting[Any]] = {
    value.name: value for value in tuple(globals().values()) if isinstance(value, Setting)
}
"""Every setting by its name, in the order in which they are listed."""
