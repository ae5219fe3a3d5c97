"""Trouble with the journal harms no run, loses nothing that could be kept, and is made known."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest

from eventflow import flow, task
from eventflow.eventbus.bus import bus
from eventflow.events import JournalEvent, JournalFailed, JournalRecovered
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal, writer
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.journal.stores import postgres
from eventflow.journal.stores.postgres import PostgresJournal, _Session
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.owners.locks import is_free
from eventflow.owners.process import describe
from eventflow.settings import EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import isolated
from eventflow.wiring import recorder
from tests.journal.server import Server

ROOT = Path(__file__).parents[1]
News = TypeVar("News", bound=JournalEvent)
KEPT_SECONDS = 10 if os.environ.get("FULL_SIZE") else 1
"""How long somebody else keeps the file."""

PATIENCE = 60
"""How many seconds are waited for what comes by itself, before a test gives up."""


class Work:
    """A flow and its task, both with hooks; and what was published of the journal meanwhile."""

    def __init__(self) -> None:
        self.heard: list[UUID] = []
        self.news: list[JournalEvent] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self._told = threading.Condition()
        self._begun = 0
        bus.subscribe(self._take, event_type=JournalEvent)

        @task(on_running=[self._hear], on_completion=[self._hear])
        def step(number: int) -> int:
            self.meanwhile()
            return number * 2

        @flow(on_running=[self._hear], on_completion=[self._hear])
        def etl(number: int) -> int:
            return step(number)

        self._etl = etl

    def _hear(self, definition: Any, run: Any, state: Any) -> None:
        self.heard.append(state.id)

    def _take(self, event: JournalEvent) -> None:
        with self._told:
            self.news.append(event)
            self._told.notify_all()

    def run(self, count: int = 1, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Run the flow so many times; something happens in the middle of the first task."""
        self.meanwhile = meanwhile
        for number in range(count):
            assert self._etl(number) == number * 2
            self.meanwhile = lambda: None
        self._begun += count

    def until(self, kind: type[News]) -> News:
        """Give the first news of this kind, as soon as there is any."""
        with self._told:
            assert self._told.wait_for(lambda: self._first(kind) is not None, PATIENCE)
            found = self._first(kind)
        assert found is not None

        return found

    def _first(self, kind: type[News]) -> News | None:
        return next((one for one in self.news if isinstance(one, kind)), None)

    def is_complete(self, *, but: int = 0) -> bool:
        """Assert that everything is in the journal, but for the first so many runs of the flow."""
        account = recorder()
        assert account is not None
        assert account.flush()
        journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
        runs = journal.runs(RunQuery(limit=10**6))
        deliveries = journal.deliveries(DeliveryQuery(limit=10**6))
        assert [one.state_name for one in runs] == ["Completed"] * (2 * (self._begun - but))
        assert {one.status for one in deliveries} == {DeliveryStatus.DELIVERED}
        assert sorted(one.event_id for one in deliveries) == sorted(self.heard[4 * but :])
        assert len(self.heard) == 4 * self._begun
        assert [journal.verify(), [one.lost for one in self.news if one.lost]] == [[], []]
        journal.close()

        return True


@pytest.fixture
def work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Work]:
    caplog.set_level("INFO", "eventflow")
    with isolated(tmp_path / "home"):
        yield Work()


def assert_said(caplog: pytest.LogCaptureFixture, failed: JournalFailed) -> None:
    """Assert that the user is warned once of the trouble, and told once of its end."""
    said = [one.getMessage() for one in caplog.records if one.levelname in {"WARNING", "ERROR"}]
    # What an owner does beside its runs may have met the same, and says no more than that.
    assert [one for one in said if one != failed.error.message] == [
        f"{failed.error.message} The runs go on; what happens is kept until then.",
        "The journal can be written again.",
    ]


def the_journal() -> SqliteJournal:
    account = recorder()
    assert account is not None
    assert isinstance(account.journal, SqliteJournal)

    return account.journal


# -- a full disk ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system, which only root may."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        assert not os.environ.get("CI"), "a disk must be made full, not only on a good day"
        pytest.skip("no file system can be mounted here, which needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no byte free on a disk; gives the file that takes all the room."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**16, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))

    return ballast


def test_a_full_disk_fails_no_run(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A real disk, full in the middle of a run: all is written down when there is room again."""
    caplog.set_level("INFO", "eventflow")
    with isolated(small_disk / "home"):
        work = Work()
        work.run(5)
        work.run(40, meanwhile=lambda: fill(small_disk))
        failed = work.until(JournalFailed)
        (small_disk / "ballast").unlink()
        work.until(JournalRecovered)
        work.run(5)

        assert work.is_complete()
    assert "full" in failed.error.message or "No space" in failed.error.message
    assert_said(caplog, failed)


class FullDisk:
    """Refuses to write to the spool, to the journal, or to both, until there is room again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._patch = pytest.MonkeyPatch()

    def fill(self) -> None:
        if self._what in {"spool", "both"}:
            self._patch.setattr(os, "write", self._refuse)
        if self._what in {"journal", "both"}:
            self._limit_pages(1)

    def free(self) -> None:
        self._patch.undo()
        self._limit_pages(2**30)

    def _refuse(self, fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @staticmethod
    def _limit_pages(most: int) -> None:
        # SQLite makes it no less than there are, and says "full" as on a full disk.
        the_journal().transact(lambda session: session.all(f"PRAGMA max_page_count = {most}"))


@pytest.mark.parametrize("full", ["spool", "journal", "both"])
def test_whatever_is_full_holds_up_nobody(
    work: Work, full: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The spool does without the journal, the journal without the spool, memory without both."""
    disk = FullDisk(full)
    work.run(5)
    work.run(60, meanwhile=disk.fill)
    failed = work.until(JournalFailed)
    disk.free()
    work.until(JournalRecovered)
    work.run(5)

    assert work.is_complete()
    assert_said(caplog, failed)


# -- a home, a folder, a file ---------------------------------------------------------------------

# Imports first: who cannot write to the home may not be let to where Python is, either.
READ_ONLY = """
import os, sys, threading
from eventflow import bus, flow
from eventflow.events import JournalEvent, JournalRecovered
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.wiring import recorder
from tests.journal.server import Server

if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
well = threading.Event()

@bus.subscribe(event_type=JournalEvent)
def told(event):
    print(type(event).__name__, flush=True)
    if isinstance(event, JournalRecovered):
        well.set()

def heard(definition, run, state):
    print("heard", flush=True)

@flow(on_completion=[heard])
def etl():
    pass

for _ in range(3):
    etl()
print("done", flush=True)
if sys.stdin.readline():
    assert well.wait(60)
    assert recorder().flush()
"""


def test_a_home_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    """Runs and hooks go on without a journal; when the home can be written, all of it is there."""
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    child = _as_nobody(home)
    assert child.stdin is not None
    assert child.stdout is not None
    said = list(takewhile(lambda line: line != "done\n", child.stdout))
    assert sorted(said) == ["JournalFailed\n", "heard\n", "heard\n", "heard\n"]
    home.chmod(0o777)
    child.stdin.write("go on\n")
    out, err = child.communicate(timeout=PATIENCE)

    assert (child.returncode, out) == (0, "JournalRecovered\n")
    assert "lost" not in err.replace('"lost": 0', "")
    journal = open_journal(f"sqlite:///{home}/journal.db")
    assert [one.state_name for one in journal.runs(RunQuery())] == ["Completed"] * 3
    assert journal.verify() == []
    journal.close()


def test_a_home_that_can_never_be_written_harms_nobody(tmp_path: Path) -> None:
    """The program ends as it would without a journal, and says what it could not keep."""
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    child = _as_nobody(home)
    out, err = child.communicate(timeout=PATIENCE)

    assert child.returncode == 0
    assert sorted(out.splitlines()) == ["JournalFailed", "done", "heard", "heard", "heard"]
    assert "until the end of this process: 10 lines are lost." in err
    assert list(home.iterdir()) == []


def _as_nobody(home: Path) -> subprocess.Popen[str]:
    for folder in (home, *home.parents):
        # Those between belong to pytest, which lets nobody else in.
        if folder.owner() == "root" and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)

    return subprocess.Popen(
        [sys.executable, "-c", READ_ONLY],
        cwd=ROOT,
        env={**os.environ, "EVENTFLOW_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_home_that_is_deleted_takes_nothing_with_it(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was on its way, and all that comes later, is in the journal that is begun."""
    work.run(5)
    assert work.is_complete()
    account = recorder()
    assert account is not None
    # Nothing of this run is committed before: that would be deleted with the file it is in.
    with account.sink.writer._commit_lock:  # type: ignore[attr-defined]
        work.run(meanwhile=lambda: shutil.rmtree(tmp_path / "home"))
    # Nothing can be put into a folder that is not there: this is how it is found out.
    while not work.news:
        work.run()
    failed = work.until(JournalFailed)
    work.until(JournalRecovered)
    work.run(5)

    assert work.is_complete(but=5)
    assert_said(caplog, failed)
    (folder,) = (tmp_path / "home" / "journal.db-owners").glob("[!.]*")
    assert {one.name for one in folder.iterdir()} >= {"lock", "owner.json"}
    assert not is_free(folder / "lock")


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the background thread leave all lines in the spool, until they are asked for."""
    monkeypatch.setattr(writer, "LINGER_SECONDS", 3600.0)


@pytest.mark.usefixtures("unhurried")
def test_a_journal_that_is_deleted_is_begun_anew(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is missing of what was not in it yet."""
    work.run(5)
    assert work.is_complete()

    def delete() -> None:
        for one in (tmp_path / "home").glob("journal.db*"):
            if one.is_file():
                one.unlink()

    work.run(30, meanwhile=delete)

    assert work.is_complete(but=5)
    assert [one.getMessage() for one in caplog.records] == []


@pytest.mark.usefixtures("unhurried")
def test_a_damaged_journal_is_set_aside(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged in the middle of a run: it is kept for whoever can read it, and another is begun."""
    path = tmp_path / "home" / "journal.db"
    work.run(5)
    assert work.is_complete()

    def damage() -> None:
        journal = the_journal()
        # What is opened in between would still be in its own log, and mend the file.
        with journal._lock:
            journal.close()
            path.write_bytes(b"this is no database" * 1000)

    work.run(30, meanwhile=damage)

    assert work.is_complete(but=5)
    (aside,) = path.parent.glob("journal.db.corrupt-*")
    assert aside.read_bytes().startswith(b"this is no database")
    (said,) = caplog.records
    assert said.levelname == "WARNING"
    assert f"It was set aside as {aside}, and a new one was begun" in said.getMessage()


def test_a_journal_that_was_damaged_before_is_set_aside(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Found at the first run: nothing of this process is missing."""
    path = tmp_path / "home" / "journal.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 1000)
    work.run(5)

    assert work.is_complete()
    assert len(list(path.parent.glob("journal.db.corrupt-*"))) == 1
    assert [one.levelname for one in caplog.records] == ["WARNING"]


# -- others ---------------------------------------------------------------------------------------

KEEP = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("kept", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@contextmanager
def kept(path: Path) -> Iterator[None]:
    """Have another process keep the file for itself."""
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEP, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == "kept\n"
    try:
        yield
    finally:
        keeper.communicate("let go\n", timeout=PATIENCE)


def test_a_journal_that_others_keep_is_not_waited_for(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs end while another process has the file; it has all of them when that lets go."""
    work.run(5)
    assert work.is_complete()
    the_journal()._busy_timeout = 0.1
    the_journal().close()
    with kept(tmp_path / "home" / "journal.db"):
        work.run(30)
        failed = work.until(JournalFailed)
        work.run(30)
        assert len(work.heard) == 4 * 65
    work.until(JournalRecovered)

    assert work.is_complete()
    assert "was kept by others for 1.2 s" in failed.error.message
    assert_said(caplog, failed)


def test_a_journal_that_others_keep_for_ten_seconds(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody notices: the runs go on at full speed, and all of them are in it afterwards."""
    work.run(5)
    assert work.is_complete()
    the_journal().close()
    with kept(tmp_path / "home" / "journal.db"):
        let_go = time.monotonic() + KEPT_SECONDS
        while time.monotonic() < let_go:
            work.run(10)

    assert work.is_complete()
    assert [work.news, caplog.records] == [[], []]


# -- PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.stop()


@contextmanager
def writing_to(url: str) -> Iterator[Work]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {url.rpartition('%3D')[2]}".encode())
    with isolated(), temporary_settings({EVENTFLOW_JOURNAL_URL: url}):
        yield Work()


def test_a_server_that_is_killed_is_waited_for(server: Server) -> None:
    """Killed in the middle of 1,000 runs, with all its processes, and begun again: all is there."""
    with writing_to(server.url("killed")) as work:
        work.run(200)
        work.run(150, meanwhile=server.kill)
        failed = work.until(JournalFailed)
        server.start()
        work.run(150)
        work.until(JournalRecovered)

        assert work.is_complete()
    assert "127.0.0.1" in failed.error.message


class Network:
    """What is between us and a server, on a port of its own; it can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._flows = threading.Event()
        self._flows.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._pairs.append((near, far))
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Let nothing through any more, and let nobody know."""
        self._flows.clear()

    def break_off(self) -> None:
        """Close every connection."""
        while self._pairs:
            for one in self._pairs.pop():
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def mend(self) -> None:
        """Let everything through again."""
        self._flows.set()

    def end(self) -> None:
        """Be no more."""
        self.mend()
        self.break_off()
        self._listening.close()


@pytest.fixture
def network(server: Server) -> Iterator[Network]:
    one = Network(server.port)
    yield one
    one.end()


def test_a_network_that_is_cut_is_waited_for(
    server: Server, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First nothing comes through, and nobody is told; then connections break; then all is well."""
    monkeypatch.setattr(postgres, "ANSWER_SECONDS", 1.0)
    monkeypatch.setitem(postgres.CONNECTION, "connect_timeout", 2)
    url = server.url("cut").replace(str(server.port), str(network.port))
    with writing_to(url) as work:
        work.run(20)
        work.run(20, meanwhile=network.cut)
        work.until(JournalFailed)
        work.run(20)
        network.break_off()
        work.run(20)
        network.mend()
        work.until(JournalRecovered)
        work.run(20)

        assert work.is_complete()


def test_who_stands_still_in_a_transaction_holds_up_nobody(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is frozen, or gone, with a lock in its hands: the server takes it from it."""
    monkeypatch.setattr(postgres, "IDLE_SECONDS", 1)
    still, other = open_journal(server.url()), open_journal(server.url())
    assert isinstance(still, PostgresJournal)
    owner = describe()
    still.register(owner)
    has_it, ended = threading.Event(), threading.Event()

    def stand_still(session: Any) -> list[Any]:
        found: list[Any] = session.all("SELECT id FROM @owners WHERE ended IS NULL FOR UPDATE")
        has_it.set()
        assert ended.wait(PATIENCE)
        return [*session.all("SELECT 1"), *found]

    with ThreadPoolExecutor() as pool:
        standing = pool.submit(still.transact, stand_still)
        assert has_it.wait(PATIENCE)
        assert other.end(owner.id, "silent")
        ended.set()
        # What it did before is undone, and done again by what is there now.
        assert standing.result(PATIENCE) == [(1,)]
    still.close()
    other.close()


def test_two_that_come_first_make_the_tables_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find none and both want to make them; whoever is second finds what the first made."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA first")
    both = threading.Barrier(2)
    looked = threading.local()
    version = _Session.version

    def together(session: _Session) -> int:
        found = version(session)
        if not getattr(looked, "once", False):
            looked.once = True
            both.wait(PATIENCE)
        return found

    monkeypatch.setattr(_Session, "version", together)
    journals = [open_journal(server.url("first")) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda one: one.statistics().runs, journals))

    assert found == [0, 0]
    for one in journals:
        one.close()
