"""Anosys behind TLS, whose certificate can go bad, under a name that can be lost."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.standins import anosys
from tests.standins.anosys import AnosysStandin, Answer

from .site_names import COLLECTOR

PATH = "/trafficpixel/behind/tls"
FINE = Answer(headers={"Connection": "close"})
"""Each event has a connection of its own, so that each meets the fault."""


class TLSCollector:
    """A real HTTPS server, and the files that decide whether a site can reach it."""

    def __init__(self, folder: Path) -> None:
        self.standin = AnosysStandin("not asked for", PATH)
        self.standin.answer_always(FINE)
        self.name_file = folder / "names"
        self.name_file.touch()
        self._good, self._bad = _certificate(folder / "good"), _certificate(folder / "bad")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self._good)

    @property
    def environment(self) -> dict[str, str]:
        """Of a site that forwards here."""
        return {
            "ANOSYS_INGESTION_URL": f"https://{COLLECTOR}:{self.standin.port}{PATH}",
            "SITE_NAMES": str(self.name_file),
            "SSL_CERT_FILE": str(self._good),
            "NO_PROXY": f"127.0.0.1,{COLLECTOR}",
            "no_proxy": f"127.0.0.1,{COLLECTOR}",
        }

    def answer(self, answer: Answer) -> None:
        """Answer every event so from now on."""
        self.standin.answer_always(answer)

    def show_a_bad_certificate(self) -> None:
        self.context.load_cert_chain(self._bad)

    def lose_its_name(self) -> None:
        self.name_file.unlink()

    def heal(self) -> None:
        self.context.load_cert_chain(self._good)
        self.name_file.touch()
        self.answer(FINE)


@contextmanager
def tls_collector(folder: Path) -> Iterator[TLSCollector]:
    """Serve for as long as the block runs."""
    collector = TLSCollector(folder)
    server = anosys._Server(collector.standin)
    # The handshake is each connection's own: one that fails or hangs must not hold up the others.
    server.socket = collector.context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    collector.standin.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.standin.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def _certificate(path: Path) -> Path:
    """A key and a certificate of its own making for the collector's name, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COLLECTOR)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(COLLECTOR)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return path
