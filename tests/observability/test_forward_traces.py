"""``manage.py forward_traces``: drains in the foreground and tells by its exit code how it went."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from pytest_django import Settings

from observability import anosys, outbox
from observability import courier as courier_module
from observability.models import Delivery, Turn
from tests.observability.helpers import PROJECT, database_url, enqueue, run_python
from tests.standins.anosys import AnosysStandin, Answer, anosys_standin

State = Delivery.State


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers come to events in the order in which tests give them."""
    monkeypatch.setattr(courier_module, "AT_ONCE", 1)


@pytest.fixture
def standin(settings: Settings) -> Iterator[AnosysStandin]:
    with anosys_standin() as standin:
        settings.ANOSYS_API_KEY = standin.api_key
        settings.ANOSYS_RESOLVER_URL = standin.resolver_url
        yield standin


def forward(*options: str) -> str:
    output = StringIO()
    call_command("forward_traces", *options, stdout=output)
    return output.getvalue().strip()


def fail_to_forward() -> str:
    with pytest.raises(CommandError) as failure:
        forward()
    assert failure.value.returncode == 1
    return str(failure.value)


@pytest.mark.django_db
class TestForwarding:
    def test_it_drains_the_outbox(self, standin: AnosysStandin) -> None:
        expected = [enqueue().event_id for _ in range(45)]
        assert forward() == "45 delivered, 0 purged, 0 given up, 0 left."
        assert standin.event_ids == expected

    def test_nothing_to_do_is_fine(self, standin: AnosysStandin) -> None:
        assert forward() == "0 delivered, 0 purged, 0 given up, 0 left."
        assert standin.connections == 0

    def test_what_is_refused_for_now_is_left_and_fails(self, standin: AnosysStandin) -> None:
        for _ in range(3):
            enqueue()
        standin.answer(Answer(status=500, headers={"Retry-After": "60"}))
        assert fail_to_forward() == "2 delivered, 0 purged, 0 given up, 1 left."

    def test_a_collector_that_is_down_is_asked_once(self, standin: AnosysStandin) -> None:
        for _ in range(3):
            enqueue()
        standin.answer_always(Answer(status=503, headers={"Retry-After": "60"}))
        assert fail_to_forward() == "0 delivered, 0 purged, 0 given up, 3 left."
        assert standin.ingestion_requests == 1

    def test_what_was_given_up_is_sent_when_asked_for(self, standin: AnosysStandin) -> None:
        delivery = enqueue()
        standin.answer(Answer(status=400))
        assert fail_to_forward() == "0 delivered, 0 purged, 1 given up, 0 left."
        assert forward() == "0 delivered, 0 purged, 0 given up, 0 left."
        told = forward("--retry-dead")
        assert "1 that were given up are due again." in told
        assert "1 delivered, 0 purged, 0 given up, 0 left." in told
        assert standin.event_ids[-1] == delivery.event_id

    def test_what_is_refused_for_good_is_given_up_and_fails(self, standin: AnosysStandin) -> None:
        enqueue()
        standin.answer(Answer(status=400))
        assert fail_to_forward() == "0 delivered, 0 purged, 1 given up, 0 left."

    def test_what_was_given_up_before_is_no_failure_of_this_run(
        self, standin: AnosysStandin
    ) -> None:
        enqueue()
        Delivery.objects.update(state=State.DEAD, settled_at=Now())
        enqueue()
        assert forward() == "1 delivered, 0 purged, 0 given up, 0 left."

    def test_what_was_purged_is_settled_and_no_failure(self, standin: AnosysStandin) -> None:
        enqueue()
        Turn.objects.all().delete()
        assert forward() == "0 delivered, 1 purged, 0 given up, 0 left."

    def test_what_another_process_is_sending_is_left_to_it(self, standin: AnosysStandin) -> None:
        enqueue()
        outbox.claim(1)
        assert fail_to_forward() == "0 delivered, 0 purged, 0 given up, 1 left."
        assert standin.connections == 0

    def test_what_a_dead_process_left_is_taken_over(self, standin: AnosysStandin) -> None:
        enqueue()
        outbox.claim(1)
        Delivery.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
        assert forward() == "1 delivered, 0 purged, 0 given up, 0 left."

    def test_a_collector_that_refuses_everything_does_not_keep_it_for_ever(
        self, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # At worst, so that everything is due again at once.
        monkeypatch.setattr(outbox, "backoff_seconds", lambda *args: 0.0)
        for _ in range(30):
            enqueue()
        standin.answer_always(Answer(status=500))
        assert fail_to_forward() == "0 delivered, 0 purged, 0 given up, 30 left."
        assert standin.ingestion_requests <= 40

    def test_a_wrong_key_leaves_everything_and_is_said(
        self, standin: AnosysStandin, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.ANOSYS_API_KEY = "a-wrong-key"
        enqueue()
        assert fail_to_forward() == "0 delivered, 0 purged, 0 given up, 1 left."
        assert "Deliveries to Anosys wait" in caplog.text

    def test_without_a_collector_what_is_left_is_a_failure(
        self, standin: AnosysStandin, settings: Settings
    ) -> None:
        enqueue()
        settings.ANOSYS_API_KEY = ""
        assert "ANOSYS_API_KEY" in fail_to_forward()

    def test_without_a_collector_nothing_to_do_is_fine(self) -> None:
        assert forward() == "0 delivered, 0 purged, 0 given up, 0 left."

    def test_broken_off_it_gives_its_leases_back(
        self, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(3):
            enqueue()

        def interrupt(*args: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(anosys.Anosys, "tell", interrupt)
        with pytest.raises(KeyboardInterrupt):
            forward()
        assert set(Delivery.objects.values_list("state", flat=True)) == {State.PENDING}


@pytest.mark.django_db(transaction=True)
def test_as_a_command_it_exits_with_its_verdict_and_without_the_chat_s_sdk(
    standin: AnosysStandin,
) -> None:
    enqueue()
    printed = run_python(
        """
import sys
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "forward_traces"])
assert "chatkit.server" not in sys.modules
""",
        ANOSYS_API_KEY=standin.api_key,
        ANOSYS_RESOLVER_URL=standin.resolver_url,
    )
    assert printed.strip() == "1 delivered, 0 purged, 0 given up, 0 left."
    assert Delivery.objects.get().state == State.DELIVERED


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_ends_it_cleanly_and_gives_its_leases_back(standin: AnosysStandin) -> None:
    for _ in range(3):
        enqueue()
    standin.answer_always(Answer(delay=60))
    with subprocess.Popen(
        [sys.executable, "manage.py", "forward_traces"],
        cwd=PROJECT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "ANOSYS_API_KEY": standin.api_key,
            "ANOSYS_RESOLVER_URL": standin.resolver_url,
        },
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        standin.wait_for(1, 30)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Task was destroyed" not in errors
    assert set(Delivery.objects.values_list("state", flat=True)) == {State.PENDING}


def test_its_help_helps() -> None:
    ended = subprocess.run(
        [sys.executable, "manage.py", "forward_traces", "--help"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    text = " ".join(ended.stdout.split())
    for word in ("foreground", "cron", "exit code"):
        assert word in text
