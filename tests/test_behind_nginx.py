"""The site behind nginx with TLS, as docs/deployment.md has it: the document is what is tested."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from tests.chatkit_client import TIMEOUT_SECONDS, ChatClient, is_text, message, request
from tests.servers import ROOT, STOP_SECONDS, Server, django_server, wait_until
from tests.standins.openai import OpenAIStandin, Play, openai_standin

pytestmark = [
    pytest.mark.skipif(
        not shutil.which("nginx") or not shutil.which("openssl"),
        reason="nginx or openssl is not here",
    ),
    pytest.mark.timeout(300),
]

NGINX = shutil.which("nginx") or ""
HOST = "chat.example.com"
ORIGIN = f"https://{HOST}"
WORDS = tuple(f"word {number} " for number in range(8))
SECONDS_PER_WORD = 0.3
TURNS_PER_ADDRESS = 4

_MAIN = """
daemon off;
master_process off;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/chat.conf;
}}
"""


class Visitor(ChatClient):
    """A browser at an address of this machine, for which chat.example.com is where nginx is."""

    def __init__(self, site: Site, address: str = "127.0.0.2") -> None:
        super().__init__(site.url)
        self.http.close()
        self.http = httpx.Client(
            base_url=site.url,
            timeout=TIMEOUT_SECONDS,
            headers={"Accept-Language": "en", "Host": HOST, "Origin": ORIGIN},
            transport=httpx.HTTPTransport(
                verify=ssl.create_default_context(cafile=site.certificate), local_address=address
            ),
            trust_env=False,
        )


@dataclass(frozen=True, kw_only=True)
class Site:
    """What stands where: nginx at ``url``, behind it the site, behind that the model."""

    url: str
    certificate: Path
    server: Server
    openai: OpenAIStandin


@pytest.fixture(scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    with ExitStack() as stack:
        openai = stack.enter_context(openai_standin())
        server = stack.enter_context(
            django_server(
                folder,
                DJANGO_DEBUG="0",
                DJANGO_ALLOWED_HOSTS=f"{HOST},127.0.0.1",
                CHATKIT_TRUSTED_PROXIES="1",
                CHATKIT_ADDRESS_RATE_LIMIT=f"{TURNS_PER_ADDRESS}/d",
                OPENAI_API_KEY="a key of the stand-in",
                OPENAI_BASE_URL=openai.base_url,
            )
        )
        certificate = _make_certificate(folder)
        url = stack.enter_context(_nginx(folder, server, certificate))
        yield Site(url=url, certificate=certificate, server=server, openai=openai)


@pytest.fixture
def site(_site: Site) -> Site:
    """The model says what it always says."""
    _site.openai.play = Play()
    return _site


@pytest.fixture
def alice(site: Site) -> Iterator[Visitor]:
    with Visitor(site) as visitor:
        visitor.sign_in("alice")
        yield visitor


# -- streams ---------------------------------------------------------------------------------------


def test_words_arrive_as_the_model_says_them_and_not_in_one_heap(
    site: Site, alice: Visitor
) -> None:
    site.openai.play = Play(thought=(), text=WORDS, seconds_per_delta=SECONDS_PER_WORD)
    with alice.ask("Hello") as stream:
        moments = [time.monotonic() for event in stream if is_text(event)]
    assert stream.text == "".join(WORDS)
    assert len(moments) == len(WORDS)
    # Half of what the model took: the machine may be busy, a heap takes no time at all.
    assert moments[-1] - moments[0] > SECONDS_PER_WORD * (len(WORDS) - 1) / 2


def test_a_visitor_who_leaves_ends_the_answer_also_at_the_model(site: Site, alice: Visitor) -> None:
    site.openai.play = Play(
        thought=(), text=WORDS[:1], hangs_after="response.output_text.delta", calls_tool=False
    )
    with alice.ask("Hello") as stream:
        stream.until_text()
        stream.leave()
    turn = site.server.wait_for_row(
        "select status, response from observability_turn where thread_id = %s"
        " and status <> 'running'",
        stream.thread_id,
    )
    assert turn == {"status": "cancelled", "response": WORDS[0]}
    wait_until(lambda: site.openai.left, 10, "the end of the model's stream")


# -- what the site knows of its visitors -----------------------------------------------------------


def test_cookies_are_for_tls_alone_and_a_foreign_page_cannot_sign_in(site: Site) -> None:
    with Visitor(site) as visitor:
        page = visitor.http.get("/accounts/login/")
        assert "Secure" in page.headers["Set-Cookie"]
        assert "Strict-Transport-Security" in page.headers
        visitor.http.headers["Origin"] = "https://elsewhere.example.com"
        form = {"csrfmiddlewaretoken": visitor.http.cookies["csrftoken"]}
        assert visitor.http.post("/accounts/login/", data=form).status_code == 403


def test_limits_know_visitors_by_the_address_that_nginx_saw(site: Site) -> None:
    def ask(visitor: Visitor, **headers: str) -> int:
        return visitor.post("threads.create", {"input": message("Hello")}, **headers).status_code

    with Visitor(site, "127.0.0.3") as greedy, Visitor(site, "127.0.0.4") as other:
        greedy.sign_in("alice")
        other.sign_in("bob")
        # With addresses of the visitor's own invention.
        asked = [
            ask(greedy, X_Forwarded_For=f"192.0.2.{number}")
            for number in range(TURNS_PER_ADDRESS + 1)
        ]
        assert asked == [200] * TURNS_PER_ADDRESS + [429]
        assert ask(other) == 200


# -- what is refused -------------------------------------------------------------------------------


def test_a_message_that_is_too_long_is_refused_by_the_site_in_json(alice: Visitor) -> None:
    refused = alice.post("threads.create", {"input": message("x" * 2_000_000)})
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")


def test_a_body_beyond_all_limits_is_refused_by_nginx(alice: Visitor) -> None:
    refused = alice.send(request("threads.create", {"input": message("x" * 12_000_000)}))
    assert (refused.status_code, refused.headers["Server"][:5]) == (413, "nginx")


def test_figures_for_prometheus_are_not_for_visitors(site: Site, alice: Visitor) -> None:
    assert alice.http.get("/metrics").status_code == 403


def test_nginx_lets_go_of_an_idle_connection_before_the_site_does() -> None:
    """Else a POST may meet its end, which is a 502: nginx sends no POST twice."""
    (seconds,) = re.findall(r"^ *keepalive_timeout (\d+)s;", _documented(), re.MULTILINE)
    assert int(seconds) < uvicorn.Config("").timeout_keep_alive


# -- nginx -----------------------------------------------------------------------------------------


def _documented() -> str:
    """The document's configuration."""
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^```nginx\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(found)


def _put(text: str, pattern: str, value: str) -> str:
    """The text with the only place that the pattern fits replaced."""
    changed, count = re.subn(pattern, lambda _: value, text)
    assert count == 1, f"{pattern} is {count} times in the document"
    return changed


@contextmanager
def _nginx(folder: Path, server: Server, certificate: Path) -> Iterator[str]:
    """The documented nginx before this server, as a process of our own. Yields its address."""
    port = _free_port()
    text = _put(_documented(), r"listen 443 ", f"listen 127.0.0.1:{port} ")
    text = _put(text, r"127\.0\.0\.1:8000", urlsplit(server.url).netloc)
    text = _put(text, r"ssl_certificate [^;]+;", f"ssl_certificate {certificate};")
    key = certificate.with_suffix(".key")
    text = _put(text, r"ssl_certificate_key [^;]+;", f"ssl_certificate_key {key};")
    (folder / "chat.conf").write_text(text, encoding="utf-8")
    main = folder / "nginx.conf"
    main.write_text(_MAIN.format(folder=folder), encoding="utf-8")
    log_path = folder / "nginx.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen([NGINX, "-p", folder, "-c", main], stdout=log, stderr=log)
    try:
        wait_until(_listens(process, port, log_path), STOP_SECONDS, "nginx' start")
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _listens(process: subprocess.Popen[bytes], port: int, log: Path) -> Callable[[], bool]:
    def probe() -> bool:
        assert process.poll() is None, f"nginx did not start:\n{log.read_text(encoding='utf-8')}"
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", port)) == 0

    return probe


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def _make_certificate(folder: Path) -> Path:
    """A certificate of HOST that is its own authority, and its key beside it."""
    certificate = folder / "chat.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-noenc", "-days", "2", "-subj", f"/CN={HOST}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1"),
            *("-keyout", certificate.with_suffix(".key"), "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate
