"""A time-stamp authority of one's own: ``openssl ts`` behind a small HTTP server, and ones that lie."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[stamping]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
tsa_name = yes
ess_cert_id_alg = sha256
"""


class Authority:
    """A root certificate, a time-stamping certificate under it, and answers of ``openssl ts``.

    Args:
        folder: an empty one
        name: of the authority
        digests ("sha256"): those that it stamps; it refuses others
        days (3650): how long its certificate is valid
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        digests: str = "sha256",
        days: int = 3650,
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.root = folder / "root.pem"
        self.config = folder / "tsa.cnf"
        self.config.write_text(CONFIG.format(folder=folder, digests=digests), encoding="utf-8")
        (folder / "serial").write_text("01\n", encoding="utf-8")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self._openssl(
            *("req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem"),
            *("-subj", f"/CN={name} root", "-days", "3650"),
            *("-config", "tsa.cnf", "-extensions", "ca"),
        )
        self._openssl(
            *("req", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", f"/CN={name}"),
            *("-config", "tsa.cnf"),
        )
        self._openssl(
            *("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key"),
            *("-CAcreateserial", "-days", str(days), "-extfile", "tsa.cnf", "-extensions", "tsa"),
            *("-out", "tsa.pem"),
        )

    def answer(self, query: bytes) -> bytes:
        """The TimeStampResp to a TimeStampReq."""
        (self.folder / "query.tsq").write_bytes(query)
        self._openssl(
            *("ts", "-reply", "-config", "tsa.cnf", "-section", "stamping"),
            *("-queryfile", "query.tsq", "-signer", "tsa.pem", "-inkey", "tsa.key"),
            *("-out", "reply.tsr"),
        )
        return (self.folder / "reply.tsr").read_bytes()

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def serving(
    answer: Callable[[bytes], bytes],
    *,
    status: int = 200,
    kind: str = "application/timestamp-reply",
) -> Iterator[str]:
    """Serves the answers on a port of this machine; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            data = answer(body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is enough."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsr"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
