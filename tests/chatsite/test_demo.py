"""``manage.py demo`` as a process: what ``make demo`` runs. On SQLite, as on a bare machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": f"sqlite:///{folder / 'demo.sqlite3'}",
        "DJANGO_DEBUG": "1",
        "PYTHONUNBUFFERED": "1",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def demo(folder: Path, port: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A demo that serves, with what it printed until then; ends on Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--port", str(port)],
        cwd=ROOT,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        printed = ""
        for line in process.stdout:
            printed += line
            if "Uvicorn running" in line:
                break
        yield printed, process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def turns(folder: Path) -> dict[str, int]:
    """How many turns ended how."""
    with closing(sqlite3.connect(folder / "demo.sqlite3")) as database:
        return dict(
            database.execute("SELECT status, count(*) FROM observability_turn GROUP BY status")
        )


def test_it_has_turns_to_show_serves_them_and_keeps_them(tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path, port) as (printed, process):
        assert f"http://127.0.0.1:{port}/ " in printed
        assert "Traceback" not in printed
        address = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{address}/accounts/login/").status_code == 200
        assert httpx.get(f"{address}/readyz").status_code == 200
        password = re.search(r"operator / (\S+)", printed)
        assert password is not None
    assert process.returncode == 0
    made = turns(tmp_path)
    assert made["completed"] >= 24
    assert made["failed"] == 2
    assert made["cancelled"] == 2

    with demo(tmp_path, port) as (printed, process):
        assert f"operator / {password[1]}" in printed
    assert process.returncode == 0
    assert turns(tmp_path) == made


def test_a_port_that_is_taken_is_said_before_anything_is_done(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "manage.py", "demo", "--port", str(port)],
            cwd=ROOT,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"Port {port} can't be used" in done.stderr
    assert not (tmp_path / "demo.sqlite3").exists()
