"""The wheel, as somebody else's Django site gets it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.chatkit_client import ChatClient
from tests.servers import PASSWORD, ROOT, wait_until

SETTINGS = """
INSTALLED_APPS += ["chatkit_endpoint", "observability"]
TEMPLATES[0]["DIRS"] = [BASE_DIR / "pages"]
STATIC_ROOT = BASE_DIR / "collected"
"""
URLS = """
from django.contrib import admin
from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("help/", TemplateView.as_view(template_name="help.html")),
    path("", include("chatkit_endpoint.urls")),
]
"""
PAGE = (
    "{% load chatkit %}<!doctype html><title>Help</title>{% chatkit %}{% chatkit_popup id='two' %}"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        check=True,
        capture_output=True,
        cwd=ROOT,
    )
    [built] = folder.glob("*.whl")
    return built


class Site:
    """A project that ``startproject`` made, and that knows our apps from the wheel alone."""

    def __init__(self, folder: Path, packages: Path) -> None:
        self.folder = folder
        self.url = ""
        kept = {"PATH", "HOME", "LANG", "TMPDIR"} & os.environ.keys()
        self.environment = {
            **{name: os.environ[name] for name in kept},
            "PYTHONPATH": str(packages),
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            check=False,
            cwd=self.folder,
            env=self.environment,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serve(self) -> Iterator[Site]:
        log_path = self.folder / "server.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "shop.asgi:application", "--port=0"],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment,
            )
        try:

            def address() -> str | None:
                said = log_path.read_text()
                assert process.poll() is None, said
                found = re.search(r"running on (http://127\.0\.0\.1:\d+)", said)
                return found and found[1]

            self.url = wait_until(address, 90, "the server's start") or ""
            yield self
        finally:
            process.kill()
            process.wait(15)


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    packages = tmp_path_factory.mktemp("packages")
    with ZipFile(wheel) as archive:
        archive.extractall(packages)
    folder = tmp_path_factory.mktemp("shop")
    made = Site(folder, packages)
    made.run("-m", "django", "startproject", "shop", ".")
    with (folder / "shop" / "settings.py").open("a") as settings:
        settings.write(SETTINGS)
    (folder / "shop" / "urls.py").write_text(URLS)
    (folder / "pages").mkdir()
    (folder / "pages" / "help.html").write_text(PAGE)
    made.run("manage.py", "migrate", "--verbosity=0")
    made.run(
        "manage.py", "createsuperuser", "--noinput", "--username=alice", "--email=alice@example.com"
    )
    made.run("manage.py", "collectstatic", "--noinput", "--verbosity=0")
    yield from made.serve()


def test_the_wheel_is_our_two_apps_and_all_that_they_need(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    [info] = [name for name in top if name.endswith(".dist-info")]
    assert top == {"chatkit_endpoint", "observability", info}
    assert {
        f"{info}/licenses/LICENSE",
        "chatkit_endpoint/migrations/0001_initial.py",
        "chatkit_endpoint/templates/chatkit_endpoint/chatkit.html",
        "chatkit_endpoint/templates/chatkit_endpoint/popup.html",
        "chatkit_endpoint/templatetags/chatkit.py",
        "observability/migrations/0001_initial.py",
        "observability/locale/de/LC_MESSAGES/django.po",
    } <= set(names)
    for app in ("chatkit_endpoint", "observability"):
        static = (ROOT / app / "static").rglob("*")
        assert {str(path.relative_to(ROOT)) for path in static if path.is_file()} <= set(names)
        for folder in (f"templates/{app}", f"templates/admin/{app}"):
            templates = (path for path in (ROOT / folder).rglob("*") if path.is_file())
            assert {f"{app}/{path.relative_to(ROOT)}" for path in templates} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_every_catalog_is_in_the_wheel_compiled(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    catalogs = {name for name in names if name.endswith(".po")}
    assert {name.replace(".po", ".mo") for name in catalogs} <= names


def test_a_site_gets_the_apps_from_the_wheel_alone(site: Site) -> None:
    where = "import chatkit_endpoint as c, observability as o; print(c.__file__, o.__file__)"
    for path in site.run("-c", where).split():
        assert path.startswith(site.environment["PYTHONPATH"])
    missing = "from importlib.util import find_spec; print(find_spec('chatsite'))"
    assert site.run("-c", missing).strip() == "None"


def test_a_fresh_site_chats(site: Site) -> None:
    with ChatClient(site.url) as alice:
        alice.http.get("/admin/login/").raise_for_status()
        form = {
            "username": "alice",
            "password": PASSWORD,
            "csrfmiddlewaretoken": alice.http.cookies["csrftoken"],
        }
        assert alice.http.post("/admin/login/", data=form).status_code == 302
        stream = alice.chat("What can you do?")
        assert stream.text
        assert stream.thread_id.startswith("thr_")
        turns = alice.http.get("/admin/observability/turn/")
        assert turns.status_code == 200
        assert "What can you do?" in turns.text
        assert alice.http.get("/admin/chatkit_endpoint/thread/").status_code == 200


def test_a_fresh_sites_page_finds_its_scripts(site: Site) -> None:
    with ChatClient(site.url) as anybody:
        html = anybody.http.get("/help/").raise_for_status().text
    collected = site.folder / "collected"
    addresses = re.findall(r'(?:src|href)="/static/([^"]+)"', html)
    assert {Path(address).name for address in addresses} == {"chat.js", "element.js", "popup.css"}
    seen: set[Path] = set()
    pending = [collected / address for address in addresses]
    while pending:
        path = pending.pop().resolve()
        assert path.is_file(), path
        if path not in seen and path.suffix == ".js":
            imports = re.findall(r"from '(\./[^']+)'", path.read_text())
            pending += [path.parent / each for each in imports]
        seen.add(path)
    assert {"bridge.js", "reporter.js", "session.js"} <= {path.name for path in seen}


def test_a_fresh_site_has_nothing_to_complain_about(site: Site) -> None:
    site.run("manage.py", "check", "--fail-level=WARNING")
    site.run("manage.py", "makemigrations", "--check", "--dry-run")
