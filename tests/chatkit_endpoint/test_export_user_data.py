"""The command: whom it asks for, where it writes, and how it ends."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
import termios
from io import StringIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from chatkit_endpoint.personal_data import Export
from tests.chatkit_endpoint.conversations import plant, plant_many, rows_of_all_tables
from tests.observability.helpers import PROJECT, database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "exports"
    made.mkdir()
    return made


def run(*arguments: str | Path) -> str:
    """What the command says."""
    out = StringIO()
    call_command("export_user_data", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_it_writes_all_tenants_of_the_account_and_nothing_of_others(
    alice: User, folder: Path
) -> None:
    hers = [plant(alice), plant(alice, tenant="acme")]
    his = plant(User.objects.create_user("bob"))
    before = rows_of_all_tables()
    path = folder / "chat-data-alice.zip"
    # A thread, two items, an attachment and a turn each.
    assert run("alice", "--output", folder) == (
        f"Wrote {path}: 10 rows, {path.stat().st_size:,} bytes.\n"
    )
    archive = ZipFile(path)
    text = "".join(archive.read(name).decode() for name in archive.namelist())
    assert all(each.marks["title"] in text and each.marks["bytes"] in text for each in hers)
    assert not [mark for mark in his.marks.values() if mark in text]
    assert rows_of_all_tables() == before
    assert list(folder.iterdir()) == [path]


def test_only_its_owner_may_read_the_archive(alice: User, folder: Path) -> None:
    run("alice", "--output", folder / "a.zip")
    assert stat.S_IMODE((folder / "a.zip").stat().st_mode) == 0o600


def test_without_an_output_it_writes_here(
    alice: User, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    run("alice")
    assert (folder / "chat-data-alice.zip").is_file()


def test_a_name_can_not_lead_to_another_folder(folder: Path) -> None:
    User.objects.create_user("../../bob")
    run("../../bob", "--output", folder)
    [path] = folder.iterdir()
    assert path.parent == folder


def test_what_is_there_is_not_overwritten(alice: User, folder: Path) -> None:
    path = folder / "a.zip"
    path.write_text("mine")
    with pytest.raises(CommandError, match=r"a\.zip is there already"):
        run("alice", "--output", path)
    assert path.read_text() == "mine"


def test_an_export_that_broke_off_is_told(alice: User, folder: Path) -> None:
    (folder / "a.zip.part").touch()
    with pytest.raises(CommandError, match=r"a\.zip\.part is there"):
        run("alice", "--output", folder / "a.zip")


def test_a_folder_that_is_not_there_is_an_error(alice: User, folder: Path) -> None:
    with pytest.raises(CommandError, match="No such file or directory"):
        run("alice", "--output", folder / "nowhere" / "a.zip")


def test_a_user_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(CommandError, match="no user 'alicia'"):
        run("alicia", "--output", folder)
    assert not list(folder.iterdir())


def test_one_that_fails_leaves_nothing_behind(
    alice: User, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Export) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Export, "__iter__", fail)
    with pytest.raises(KeyboardInterrupt):
        run("alice", "--output", folder)
    assert not list(folder.iterdir())


def test_a_file_that_is_missing_is_an_error_at_the_end(alice: User, folder: Path) -> None:
    plant(alice).file.unlink()
    with pytest.raises(CommandError, match="could not be read: 1"):
        run("alice", "--output", folder)
    assert ZipFile(folder / "chat-data-alice.zip").testzip() is None


def command(*arguments: str | Path, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """The command as a process of its own, on this test's database."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "export_user_data", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": database_url()},
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


class TestProcess:
    def test_a_terminal_gets_a_progress_bar(self, alice: User, folder: Path) -> None:
        plant_many(alice, 60)
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (24, 100))
        try:
            with command("alice", "--output", folder, stderr=end) as process:
                os.close(end)
                shown = _all_of(terminal)
                out, _ = process.communicate(timeout=60)
        finally:
            os.close(terminal)
        assert b"/180 [" in shown
        assert b"180/180" in shown
        assert b": 180 rows," in out

    def test_a_pipe_gets_none(self, alice: User, folder: Path) -> None:
        plant_many(alice, 3)
        with command("alice", "--output", folder) as process:
            assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0

    def test_help_says_what_it_writes_and_how_to_ask(self) -> None:
        with command("--help") as process:
            out, _ = process.communicate(timeout=60)
        for words in (b"ZIP archive", b"NAME", b"--output PATH", b"Nothing is changed"):
            assert words in out


def _all_of(terminal: int) -> bytes:
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # What Linux says when nobody holds the other end any more.
            return shown
        if not piece:
            return shown
        shown += piece
