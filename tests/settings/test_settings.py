"""Settings: their values, where those come from, and the errors of wrong ones."""

from __future__ import annotations

import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from eventflow import settings
from eventflow.errors import ConfigurationError, HomeError, SettingError
from eventflow.primitives import private_files
from eventflow.settings import (
    EVENTFLOW_API_URL,
    EVENTFLOW_DURABILITY,
    EVENTFLOW_GUARDIAN,
    EVENTFLOW_HOME,
    EVENTFLOW_JOURNAL_URL,
    EVENTFLOW_LOG_FORMAT,
    EVENTFLOW_LOG_LEVEL,
    EVENTFLOW_SECRET_KEY,
    EVENTFLOW_UI_HOST,
    EVENTFLOW_UI_PORT,
    EVENTFLOW_UI_TOKEN,
    SETTINGS,
    Setting,
    home,
    temporary_settings,
)

KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up a home for each test, without settings from outside."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)

    monkeypatch.setenv("EVENTFLOW_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def configure(folder: Path, text: str) -> None:
    """Write the config file."""
    (folder / "config.toml").write_text(text)


def test_each_setting_has_its_default(folder: Path) -> None:
    """None has to be set."""
    assert {name: setting.value() for name, setting in SETTINGS.items()} == {
        "EVENTFLOW_HOME": folder,
        "EVENTFLOW_JOURNAL_URL": f"sqlite:///{folder}/journal.db",
        "EVENTFLOW_DURABILITY": "process",
        "EVENTFLOW_GUARDIAN": True,
        "EVENTFLOW_GUARDIAN_GRACE_SECONDS": 5.0,
        "EVENTFLOW_LEASE_SECONDS": 15.0,
        "EVENTFLOW_CANCEL_SECONDS": 30.0,
        "EVENTFLOW_RECOVERY_HOOK_SECONDS": 600.0,
        "EVENTFLOW_RETENTION_DAYS": 30.0,
        "EVENTFLOW_RETENTION_BYTES": 2 * 2**30,
        "EVENTFLOW_PARAMETERS_BYTES": 100_000,
        "EVENTFLOW_MASK_SECRETS": True,
        "EVENTFLOW_API_URL": "http://127.0.0.1:4200",
        "EVENTFLOW_LOG_LEVEL": "INFO",
        "EVENTFLOW_KEPT_LOG_LEVEL": "INFO",
        "EVENTFLOW_KEPT_LOG_BYTES": 256 * 2**20,
        "EVENTFLOW_LOG_FORMAT": "console",
        "EVENTFLOW_SECRET_KEY": None,
        "EVENTFLOW_UI_HOST": "127.0.0.1",
        "EVENTFLOW_UI_PORT": 4200,
        "EVENTFLOW_UI_TOKEN": None,
    }


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("localhost", "80", "http://localhost:80"),
        ("::1", "5000", "http://[::1]:5000"),
        ("0.0.0.0", "5000", "http://127.0.0.1:5000"),
        ("127.0.0.1", "0", "http://127.0.0.1:4200"),
    ],
)
def test_links_lead_to_where_the_page_is_served(host: str, port: str, address: str) -> None:
    """Unless they are to lead elsewhere, such as to a proxy before it."""
    with temporary_settings({EVENTFLOW_UI_HOST: host, EVENTFLOW_UI_PORT: port}):
        assert EVENTFLOW_API_URL.value() == address
        with temporary_settings({EVENTFLOW_API_URL: "https://flows.example.com"}):
            assert EVENTFLOW_API_URL.value() == "https://flows.example.com"


def test_the_default_home_is_in_the_users_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without EVENTFLOW_HOME it is ~/.eventflow."""
    monkeypatch.delenv("EVENTFLOW_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert EVENTFLOW_HOME.value() == tmp_path / ".eventflow"
    assert EVENTFLOW_HOME.source() == "the default"


def test_the_order_of_sources(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """temporary_settings, then the environment, then the file, then the default."""
    assert EVENTFLOW_LOG_LEVEL.source() == "the default"
    configure(folder, 'log_level = "debug"')
    assert EVENTFLOW_LOG_LEVEL.value() == "DEBUG"
    assert EVENTFLOW_LOG_LEVEL.source() == str(folder / "config.toml")
    monkeypatch.setenv("EVENTFLOW_LOG_LEVEL", "error")
    assert EVENTFLOW_LOG_LEVEL.value() == "ERROR"
    assert EVENTFLOW_LOG_LEVEL.source() == "the environment"
    with temporary_settings({EVENTFLOW_LOG_LEVEL: "critical"}):
        assert EVENTFLOW_LOG_LEVEL.value() == "CRITICAL"
        assert EVENTFLOW_LOG_LEVEL.source() == "temporary_settings"

    assert EVENTFLOW_LOG_LEVEL.value() == "ERROR"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """`EVENTFLOW_API_URL=` in a compose file means the default."""
    monkeypatch.setenv("EVENTFLOW_API_URL", " ")
    assert EVENTFLOW_API_URL.value() == "http://127.0.0.1:4200"


@pytest.mark.parametrize(
    "key", ["guardian", "GUARDIAN", "eventflow_guardian", "EVENTFLOW_GUARDIAN"]
)
def test_a_key_of_the_file_may_be_spelled_freely(folder: Path, key: str) -> None:
    """Any case, with or without the prefix."""
    configure(folder, f"{key} = false")
    assert EVENTFLOW_GUARDIAN.value() is False


def test_the_file_is_read_again_when_it_changes(folder: Path) -> None:
    """An edit of the file is seen by a running process."""
    configure(folder, 'durability = "off"')
    assert EVENTFLOW_DURABILITY.value() == "off"
    configure(folder, 'durability = "power"')
    assert EVENTFLOW_DURABILITY.value() == "power"


def test_an_unknown_key_of_the_file_is_a_warning_that_names_the_nearest(folder: Path) -> None:
    """A misspelt key is reported once, and stops nothing."""
    configure(folder, 'log_lvel = "DEBUG"\nzzz = 1\nlog_format = "json"')
    with pytest.warns(UserWarning, match="is ignored") as warned:
        assert EVENTFLOW_LOG_FORMAT.value() == "json"

    first, second = (str(warning.message) for warning in warned)
    assert "'log_lvel' is ignored" in first
    assert "did you mean 'EVENTFLOW_LOG_LEVEL'?" in first
    assert "'zzz' is ignored: there is no such setting" in second
    with warnings.catch_warnings(record=True) as again:
        EVENTFLOW_LOG_FORMAT.value()

    assert again == []


def test_the_home_cannot_be_set_in_the_file_that_it_holds(folder: Path) -> None:
    """That key is ignored with a warning that names where to set it."""
    configure(folder, 'home = "/elsewhere"')
    with pytest.warns(UserWarning, match="set it in the environment"):
        EVENTFLOW_GUARDIAN.value()

    assert EVENTFLOW_HOME.value() == folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("log_level = ", "cannot be read"),
        ("guardian = 1\nGUARDIAN = 0", "EVENTFLOW_GUARDIAN twice"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(folder: Path, text: str, message: str) -> None:
    """Neither a syntax error nor a contradiction is ignored."""
    configure(folder, text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        EVENTFLOW_GUARDIAN.value()

    assert str(folder / "config.toml") in str(caught.value)


def test_a_file_that_cannot_be_reached_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in its place cannot be read, and a name may be too long."""
    (folder / "config.toml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        EVENTFLOW_GUARDIAN.value()

    monkeypatch.setenv("EVENTFLOW_HOME", str(folder / ("x" * 300)))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        EVENTFLOW_GUARDIAN.value()


def test_a_home_that_is_a_file_holds_no_config_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a setting does not fail because of it."""
    configure(folder, "")
    monkeypatch.setenv("EVENTFLOW_HOME", str(folder / "config.toml"))
    assert EVENTFLOW_GUARDIAN.value() is True


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (EVENTFLOW_GUARDIAN, "Yes", True),
        (EVENTFLOW_GUARDIAN, "0", False),
        (EVENTFLOW_GUARDIAN, False, False),
        (EVENTFLOW_DURABILITY, "POWER", "power"),
        (
            EVENTFLOW_API_URL,
            "https://flows.example.com:8443/sub/",
            "https://flows.example.com:8443/sub",
        ),
        (EVENTFLOW_JOURNAL_URL, "memory://", "memory://"),
        (EVENTFLOW_JOURNAL_URL, "PostgreSQL://u:p@db/x", "postgresql://u:p@db/x"),
        (EVENTFLOW_JOURNAL_URL, "sqlite:////var/lib/j.db", "sqlite:////var/lib/j.db"),
        (EVENTFLOW_SECRET_KEY, KEY, KEY),
        (EVENTFLOW_UI_HOST, "[::1]", "::1"),
        (EVENTFLOW_UI_PORT, "0", 0),
        (EVENTFLOW_UI_TOKEN, "abc-DEF_1.~", "abc-DEF_1.~"),
        (EVENTFLOW_HOME, Path("/srv/flows"), Path("/srv/flows")),
        (EVENTFLOW_HOME, "/srv/x/../flows", Path("/srv/flows")),
    ],
)
def test_a_good_value_is_accepted(setting: Setting[object], text: object, value: object) -> None:
    """Values may be written in several ways."""
    with temporary_settings({setting: text}):
        assert setting.value() == value


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (EVENTFLOW_GUARDIAN, "maybe"),
        (EVENTFLOW_GUARDIAN, ["true"]),
        (EVENTFLOW_DURABILITY, "forever"),
        (EVENTFLOW_HOME, ""),
        (EVENTFLOW_API_URL, "ftp://x"),
        (EVENTFLOW_API_URL, "http://"),
        (EVENTFLOW_API_URL, "http://x:99999"),
        (EVENTFLOW_API_URL, "http://x:0"),
        (EVENTFLOW_API_URL, "http://x/?a=b"),
        (EVENTFLOW_API_URL, "http://x y"),
        (EVENTFLOW_JOURNAL_URL, "journal.db"),
        (EVENTFLOW_JOURNAL_URL, "sqlite://journal.db"),
        (EVENTFLOW_JOURNAL_URL, "sqlite:///"),
        (EVENTFLOW_JOURNAL_URL, "mysql://x"),
        (EVENTFLOW_JOURNAL_URL, "memory://x"),
        (EVENTFLOW_UI_HOST, "a host"),
        (EVENTFLOW_UI_PORT, "65536"),
        (EVENTFLOW_UI_PORT, "-1"),
    ],
)
def test_a_bad_value_is_an_error_that_names_it(setting: Setting[object], text: object) -> None:
    """The error names the setting, the value, what is allowed, and the source."""
    with pytest.raises(SettingError) as caught, temporary_settings({setting: text}):
        pass

    for part in (setting.name, repr(text), setting.allowed, "temporary_settings"):
        assert part in str(caught.value)


def test_a_bad_variable_is_an_error_that_names_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The source of the value is part of the message."""
    monkeypatch.setenv("EVENTFLOW_DURABILITY", "forever")
    with pytest.raises(SettingError, match=r"'forever' \(from the environment\), but it must be"):
        EVENTFLOW_DURABILITY.value()


@pytest.mark.parametrize("key", ["hunter2", "aHVudGVyMg==", "ab cd"])
def test_a_bad_secret_key_is_not_quoted(key: str) -> None:
    """The error masks the value, which may be a misspelt key."""
    with pytest.raises(SettingError) as caught, temporary_settings({EVENTFLOW_SECRET_KEY: key}):
        pass

    assert key not in str(caught.value)
    assert "********" in str(caught.value)
    assert caught.value.__suppress_context__


def test_shown_masks_what_is_secret() -> None:
    """All of a key is masked, the credentials of a URL, and the value in the text of a setting."""
    assert EVENTFLOW_SECRET_KEY.shown() == "None"
    with temporary_settings(
        {EVENTFLOW_SECRET_KEY: KEY, "journal_url": "postgresql://u:p@/w@db/x?password=q&a=b"}
    ):
        assert EVENTFLOW_SECRET_KEY.shown() == "********"
        assert EVENTFLOW_JOURNAL_URL.shown() == "postgresql://********@db/x?password=********&a=b"
        assert repr(EVENTFLOW_SECRET_KEY) == "<Setting EVENTFLOW_SECRET_KEY>"

    assert EVENTFLOW_GUARDIAN.shown() == "True"


def test_a_bad_url_is_quoted_without_its_password() -> None:
    """Errors are logged."""
    bad = {EVENTFLOW_JOURNAL_URL: "postgres://me:hunter2@db/x"}
    with pytest.raises(SettingError) as caught, temporary_settings(bad):
        pass

    assert "hunter2" not in str(caught.value)


def test_temporary_settings_nest_and_restore() -> None:
    """The innermost is in force, None means the default, and an error restores as well."""
    with temporary_settings({"EVENTFLOW_GUARDIAN": False, "log_level": "DEBUG"}):
        with pytest.raises(KeyError), temporary_settings({EVENTFLOW_GUARDIAN: None}):
            assert EVENTFLOW_GUARDIAN.value() is True
            assert EVENTFLOW_LOG_LEVEL.value() == "DEBUG"
            raise KeyError

        assert EVENTFLOW_GUARDIAN.value() is False

    assert EVENTFLOW_GUARDIAN.value() is True


def test_blocks_of_temporary_settings_may_end_in_any_order() -> None:
    """An equal block that ends first does not end the other one."""
    first, second, third = (
        temporary_settings({EVENTFLOW_LOG_LEVEL: level}) for level in ("DEBUG", "ERROR", "DEBUG")
    )
    first.__enter__()
    second.__enter__()
    third.__enter__()
    third.__exit__(None, None, None)
    assert EVENTFLOW_LOG_LEVEL.value() == "ERROR"
    first.__exit__(None, None, None)
    assert EVENTFLOW_LOG_LEVEL.value() == "ERROR"
    second.__exit__(None, None, None)
    assert EVENTFLOW_LOG_LEVEL.value() == "INFO"


def test_an_unknown_name_is_an_error_that_names_the_nearest() -> None:
    """Otherwise a test with a misspelt name would set nothing."""
    with (
        pytest.raises(SettingError, match="did you mean 'EVENTFLOW_DURABILITY'"),
        temporary_settings({"EVENTFLOW_DURABILTY": "off"}),
    ):
        pass


def test_the_home_is_made_for_its_owner_only(folder: Path) -> None:
    """It has mode 0700; folders above it are made as well."""
    with temporary_settings({EVENTFLOW_HOME: folder / "deep" / "er"}):
        assert home() == folder / "deep" / "er"
        assert home() == folder / "deep" / "er"

    assert stat.S_IMODE((folder / "deep" / "er").stat().st_mode) == 0o700


def test_a_home_that_exists_keeps_its_mode(folder: Path) -> None:
    """A shared folder such as /tmp stays shared."""
    folder.chmod(0o755)
    home()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_home_that_cannot_be_used_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in its place, a folder that cannot be made, a folder without permission."""
    (folder / "file").touch()
    for path, why in (
        (folder / "file", "it is a file"),
        (folder / "file" / "x", "Not a directory"),
        (Path("/proc/eventflow"), "No such file"),
        (Path("~nobody-of-that-name/x"), "no such user"),
    ):
        with pytest.raises(HomeError, match=why), temporary_settings({EVENTFLOW_HOME: path}):
            home()

    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(HomeError, match="not writable"):
        home()


def test_settings_lists_every_setting() -> None:
    """It is complete, and each has a meaning."""
    named = {name for name in settings.__all__ if name.startswith("EVENTFLOW_")}
    assert set(SETTINGS) == named
    assert next(iter(SETTINGS)) == "EVENTFLOW_HOME"
    assert all(setting.meaning.endswith(".") for setting in SETTINGS.values())


def test_importing_the_settings_reads_no_file() -> None:
    """tomllib is imported only when there is a file to read."""
    # Compared, because a start-up file of site-packages (coverage has one) may import it first.
    code = (
        "import sys; before = 'tomllib' in sys.modules; import eventflow.settings as s; "
        "s.EVENTFLOW_GUARDIAN.value(); assert ('tomllib' in sys.modules) == before"
    )
    root = Path(settings.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_a_file_of_another_user_is_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could send the journal elsewhere; a warning says so."""
    configure(folder, "log_level = 'DEBUG'")
    users = frozenset({folder.stat().st_uid + 1})
    monkeypatch.setattr(private_files, "_trusted_users", lambda: users)
    with pytest.warns(UserWarning, match=r"config\.toml belongs to another user"):
        assert EVENTFLOW_LOG_LEVEL.value() == "INFO"
