"""The command: what it asks for, what it says, and how it ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from chatkit_endpoint.models import Attachment, Thread, ThreadItem
from observability.models import ClientEvent, Hold, Turn
from tests.chatkit_endpoint.conversations import found, plant, plant_many, rows_of_all_tables
from tests.factories import make_client_event
from tests.observability.helpers import PROJECT, database_url, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]


def run(*arguments: str) -> str:
    """What the command says."""
    out = StringIO()
    call_command("purge_threads", *arguments, stdout=out)
    return out.getvalue()


class TestArguments:
    def test_without_an_age_or_a_user_it_says_what_it_needs(self, alice: User) -> None:
        plant(alice)
        with pytest.raises(CommandError, match="--older-than DAYS, --user NAME, --thread ID"):
            run()
        assert Thread.objects.exists()

    @pytest.mark.parametrize("days", ["-1", "36501"])
    def test_days_out_of_range_are_an_error(self, alice: User, days: str) -> None:
        plant(alice)
        with pytest.raises(CommandError, match="from 0 to 36500"):
            run("--older-than", days)
        assert Thread.objects.exists()

    @pytest.mark.parametrize("days", ["soon", "1.5", ""])
    def test_days_that_are_no_number_are_an_error(self, days: str) -> None:
        with pytest.raises(CommandError, match="--older-than"):
            run("--older-than", days)

    def test_a_user_that_is_not_there_is_an_error(self, alice: User) -> None:
        plant(alice)
        with pytest.raises(CommandError, match="no user 'alicia'"):
            run("--user", "alicia")
        assert Thread.objects.exists()

    def test_a_thread_that_is_not_there_is_an_error(self, alice: User) -> None:
        plant(alice)
        with pytest.raises(CommandError, match="no thread 'thr_typo'"):
            run("--thread", "thr_typo")
        assert Thread.objects.exists()

    def test_a_thread_of_somebody_else_is_none_of_the_user_s(self, alice: User) -> None:
        thread = plant(User.objects.create_user("bob")).thread
        assert run("--user", "alice", "--thread", thread.key).startswith("Deleted 0 threads,")
        assert Thread.objects.get() == thread

    @pytest.mark.parametrize("size", ["0", "-5", "10001"])
    def test_a_batch_size_out_of_range_is_an_error(self, alice: User, size: str) -> None:
        with pytest.raises(CommandError, match="from 1 to 10000"):
            run("--user", "alice", "--batch-size", size)


class TestPurge:
    def test_old_threads_go_and_it_says_what_went(self, alice: User, media: Path) -> None:
        old, fresh = plant(alice), plant(alice, written_at=timezone.now())
        assert run("--older-than", "30") == (
            "Deleted 1 thread, 2 items, 1 attachment (1 file) and the text of 1 turn.\n"
        )
        assert not found(old.marks.values(), media)
        assert found(fresh.marks.values(), media) == set(fresh.marks.values())

    def test_one_thread_goes_alone(self, alice: User, media: Path) -> None:
        going, kept = plant(alice), plant(alice)
        assert run("--thread", going.thread.key).startswith("Deleted 1 thread,")
        assert not found(going.marks.values(), media)
        assert found(kept.marks.values(), media) == set(kept.marks.values())

    def test_of_a_user_what_they_did_when_goes_too_in_all_tenants(self, alice: User) -> None:
        make_client_event(plant(alice).turn)
        make_client_event(plant(alice, tenant="acme").turn, tenant="acme")
        assert run("--user", "alice") == (
            "Deleted 2 threads, 4 items, 2 attachments (2 files), 2 records of use "
            "and the text of 2 turns.\n"
        )
        assert not ClientEvent.objects.exists()

    @pytest.mark.parametrize("arguments", [["--older-than", "30"], ["--user", "alice"]])
    def test_what_is_on_hold_is_kept_and_said(
        self, alice: User, media: Path, arguments: list[str]
    ) -> None:
        held = plant(alice)
        thread = held.thread
        Hold.objects.create(
            tenant=thread.tenant,
            owner_key=thread.owner_key,
            thread_id=thread.key,
            reason="A claim.",
        )
        plant(alice)
        assert run(*arguments, "--dry-run").splitlines()[1:] == ["Kept: 1 thread on hold."]
        said = run(*arguments).splitlines()
        assert said[0].startswith("Deleted 1 thread,")
        assert said[1:] == ["Kept: 1 thread on hold."]
        assert found(held.marks.values(), media) == set(held.marks.values())

    def test_zero_days_is_everything_up_to_now(self, alice: User) -> None:
        plant(alice, written_at=timezone.now())
        assert run("--older-than", "0").startswith("Deleted 1 thread,")

    def test_a_user_s_threads_go_whatever_their_age(self, alice: User, media: Path) -> None:
        going = plant(alice, written_at=timezone.now())
        kept = plant(User.objects.create_user("bob"))
        assert run("--user", "alice").startswith("Deleted 1 thread,")
        assert not found(going.marks.values(), media)
        assert found(kept.marks.values(), media) == set(kept.marks.values())

    def test_it_says_which_it_left(self, alice: User) -> None:
        plant(alice, running=True)
        assert run("--user", "alice").splitlines() == [
            "Deleted 0 threads, 0 items, 0 attachments (0 files) and the text of 0 turns.",
            "Left for the next run: 1 thread with a running turn.",
        ]
        assert Thread.objects.exists()

    def test_a_dry_run_counts_and_changes_nothing(self, alice: User, media: Path) -> None:
        plant(alice)
        plant(alice, running=True)
        before, files = rows_of_all_tables(), sorted(media.rglob("*"))
        assert run("--older-than", "30", "--dry-run").splitlines() == [
            "Would delete 1 thread, 2 items, 1 attachment (1 file) and the text of 1 turn. "
            "Nothing was changed.",
            "Left for the next run: 1 thread with a running turn.",
        ]
        assert (rows_of_all_tables(), sorted(media.rglob("*"))) == (before, files)

    def test_one_thread_at_a_time_does_the_same(self, alice: User) -> None:
        for _ in range(3):
            plant(alice)
        assert run("--user", "alice", "--batch-size", "1") == (
            "Deleted 3 threads, 6 items, 3 attachments (3 files) and the text of 3 turns.\n"
        )

    def test_a_file_that_can_not_be_deleted_is_an_error_at_the_end(self, alice: User) -> None:
        stuck, other = plant(alice), plant(alice)
        stuck.file.unlink()
        stuck.file.mkdir()
        (stuck.file / "inside").touch()
        with pytest.raises(CommandError, match="1 file could not be deleted"):
            run("--user", "alice")
        assert not other.file.exists()
        assert Attachment.objects.get() == stuck.attachment


@contextmanager
def command(*arguments: str, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, on this test's database."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "purge_threads", *arguments],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": database_url()},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


class TestProcess:
    def test_ctrl_c_leaves_whole_conversations_and_says_what_went(self, alice: User) -> None:
        plant_many(alice, 3000)
        with command("--user", "alice", "--batch-size", "1") as process:
            eventually(lambda: Thread.objects.count() < 2990)
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=30)
        left = Thread.objects.count()
        assert 0 < left < 2990
        assert process.returncode == 130
        assert "Interrupted" in error
        assert "Traceback" not in error
        assert out.startswith("Deleted so far: ")
        # The batch under way may just have been committed.
        said = int(out.split()[3].replace(",", ""))
        assert 3000 - left - said in {0, 1}
        assert ThreadItem.objects.count() == left
        assert Turn.objects.with_text().count() == left
        with command("--user", "alice") as process:
            assert process.communicate(timeout=60)[0].startswith(f"Deleted {left:,} threads,")
        assert not Thread.objects.exists()

    def test_a_terminal_gets_a_progress_bar(self, alice: User) -> None:
        plant_many(alice, 3)
        terminal, stderr = pty.openpty()
        termios.tcsetwinsize(terminal, (24, 80))
        with command("--user", "alice", stderr=stderr) as process:
            os.close(stderr)
            shown = b""
            # Linux ends the reading of a terminal whose other end is closed with an error.
            try:
                while part := os.read(terminal, 4096):
                    shown += part
            except OSError:
                pass
            finally:
                os.close(terminal)
            out, _ = process.communicate(timeout=30)
        assert b"0/9 [" in shown
        assert b"100%" in shown
        assert out.startswith("Deleted 3 threads,")

    def test_a_pipe_gets_none(self, alice: User) -> None:
        plant_many(alice, 3)
        with command("--user", "alice") as process:
            assert process.communicate(timeout=30)[1] == ""

    def test_help_says_what_goes_and_how_to_ask(self) -> None:
        with command("--help") as process:
            out, _ = process.communicate(timeout=30)
        for words in (
            "for good",
            "--older-than DAYS",
            "--user NAME",
            "--thread ID",
            "--dry-run",
            "run again",
        ):
            assert words in out

    def test_it_does_not_load_the_chat_s_sdk(self, alice: User) -> None:
        """That takes two seconds, every time."""
        plant_many(alice, 1)
        code = (
            "import sys\n"
            "from django.core.management import execute_from_command_line as run\n"
            "run(['manage.py', 'purge_threads', '--user', 'alice'])\n"
            "loaded = {'chatkit', 'agents', 'openai'} & set(sys.modules)\n"
            "sys.exit(f'loaded: {loaded}' if loaded else 0)\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "chatsite.settings",
                "DATABASE_URL": database_url(),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.stdout.startswith("Deleted 1 thread,"), ended.stderr
        assert ended.returncode == 0, ended.stderr
