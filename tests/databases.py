"""A PostgreSQL server of our own: on a free loopback port, in a temporary folder, not as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_triton.server.ports import choose_ports

PASSWORD = "sesame-of-the-tests"


def find_programs() -> Path | None:
    """Find the folder with ``initdb`` and ``postgres``. Debian keeps it off PATH."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@dataclass
class PostgreSQL:
    """A running server."""

    port: int
    databases: int = 0

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql://tester:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        self.databases += 1
        name = f"store{self.databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Run a server; skip the test where there is none."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="store-"))
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        someone = pwd.getpwnam("nobody")
        identity = {"user": someone.pw_uid, "group": someone.pw_gid, "extra_groups": []}
        os.chown(folder, someone.pw_uid, someone.pw_gid)
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    data = folder / "data"
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "tester", "-A", "scram-sha-256", f"--pwfile={password}", "-N"],
            check=True,
            capture_output=True,
            cwd=folder,
            timeout=120,
            **identity,
        )
        (port,) = choose_ports(1)
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), *(word for s in settings for word in ("-c", s))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **identity,
        )
        try:
            running = PostgreSQL(port)
            wait_for(running)
            yield running
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


def wait_for(server: PostgreSQL) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(server.url("postgres"), connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
