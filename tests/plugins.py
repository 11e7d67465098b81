"""What the suite needs of its machine: loaded first, by ``-p tests.plugins`` in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from asgiref.sync import SyncToAsync
from django.core.cache import cache
from django.db import connections
from django.utils import translation

from tests import postgres

# Before the settings are read: whatever the shell and `.env` hold, the suite talks to nobody
# outside. An empty variable counts as unset, and keeps `.env` from filling it.
for _name in (
    "ANOSYS_API_KEY",
    "ANOSYS_INGESTION_URL",
    "ANOSYS_TEXT",
    "CHATKIT_CLIENT",
    "CHATKIT_DOMAIN_KEY",
    "OBSERVABILITY_ENCRYPTION_KEYS",
    "OBSERVABILITY_METRICS",
    "OBSERVABILITY_METRICS_TOKEN",
    "OBSERVABILITY_OTLP_TEXT",
    "OBSERVABILITY_PSEUDONYM_KEY",
    "OBSERVABILITY_TEXT",
    "OBSERVABILITY_WEBHOOK_SECRET",
    "OBSERVABILITY_WEBHOOK_TEXT",
    "OBSERVABILITY_WEBHOOK_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
):
    os.environ.pop(f"{_name}_FILE", None)
    os.environ[_name] = ""
os.environ["DJANGO_DEBUG"] = "1"
# Tests ask faster than people do; those of the limits set limits of their own.
os.environ["CHATKIT_RATE_LIMIT"] = os.environ["CHATKIT_ADDRESS_RATE_LIMIT"] = ""
os.environ["CHATKIT_MAX_STREAMS"] = "100"
os.environ.setdefault("DATABASE_URL", "")

JAVASCRIPT = Path(__file__).parent / "javascript"
PHOENIX = Path(__file__).parent.parent / ".venv-phoenix/bin/phoenix"


@dataclass(frozen=True)
class Need:
    """Something that tests with a marker of that name need, and that a machine may lack."""

    marker: str
    what: str
    remedy: str
    is_there: Callable[[], bool]
    is_wanted_in_ci: bool = True
    """Else CI may skip it; its script tells why."""

    @property
    def missing(self) -> str:
        return f"{self.what} is not on this machine; to get it: {self.remedy}"


def chromium_program() -> str | None:
    """The path of Debian's Chromium, or of a Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


NEEDS = (
    Need("browser", "Chromium", "apt-get install chromium", lambda: bool(chromium_program())),
    Need(
        "postgres",
        "A PostgreSQL server",
        "apt-get install postgresql",
        lambda: bool(postgres.server_programs()),
    ),
    Need("node", "npm", "apt-get install npm", lambda: bool(shutil.which("npm"))),
    Need("phoenix", "Arize Phoenix", "make test-phoenix", PHOENIX.exists, is_wanted_in_ci=False),
)
could_not_run = pytest.StashKey[dict[Need, int]]()


@pytest.fixture(autouse=True)
def _close_connections_of_async_tests() -> Iterator[None]:
    """Outside a request nobody closes the connection of the thread that async ORM calls run on.

    PostgreSQL refuses to drop a test database that it is still connected to.
    """
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(autouse=True)
def _language_of_each_test_is_its_own() -> Iterator[None]:
    """A request of Django's test client leaves its language active behind it."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _cache_of_each_test_is_its_own() -> None:
    """It is of the process, and outlives the rows that it tells of."""
    cache.clear()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium, for Playwright's ``executable_path``."""
    program = chromium_program()
    if program is None:
        pytest.fail("Mark the test with `browser`: it needs Chromium.")
    return program


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """What tests need of npm; installed from its lock where `make lint` has not done so yet."""
    installed = JAVASCRIPT / "node_modules"
    if not (installed / "typescript").is_dir():
        subprocess.run(["npm", "ci", "--silent"], check=True, cwd=JAVASCRIPT)  # noqa: S607
    return installed


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The DATABASE_URL of an empty database in a temporary cluster, the same for the whole run."""
    with postgres.temporary_cluster() as cluster:
        yield cluster.url


def pytest_configure(config: pytest.Config) -> None:
    config.stash[could_not_run] = {}


def pytest_report_header() -> str:
    import django
    from django.conf import settings

    engine = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
    return f"Django {django.__version__} on Python {sys.version.split()[0]}, database: {engine}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine can't run; in CI, which brings all that it wants, fail it."""
    for need in NEEDS:
        if item.get_closest_marker(need.marker) and not need.is_there():
            missed = item.config.stash[could_not_run]
            missed[need] = missed.get(need, 0) + 1
            if need.is_wanted_in_ci and os.environ.get("CI") == "true":
                pytest.fail(need.missing, pytrace=False)
            pytest.skip(need.missing)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say before pytest's closing line what could not run, and how to get it."""
    if missed := config.stash[could_not_run]:
        terminalreporter.section("could not run")
        for need, count in missed.items():
            tests = "test" if count == 1 else "tests"
            terminalreporter.line(f"{count} {tests} marked `{need.marker}`: {need.missing}")
