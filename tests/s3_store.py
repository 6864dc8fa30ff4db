"""A real S3-compatible server in a process of its own: moto's, which honours conditional writes."""

import contextlib
import http.client
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from storage import objects, roots

BUCKET = "factory"
KEYS = {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "secret-of-the-test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Store:
    """A running server with one bucket."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    def post(self, path: str, body: bytes) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, method="POST")
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request, timeout=10).close()


@contextlib.contextmanager
def start_store() -> Iterator[Store]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
                urllib.request.urlopen(request, timeout=5).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.2)
        yield Store(port, process)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def careless(store: Store) -> Iterator[str]:
    """The same store by an address that drops conditions, as some S3-compatible servers do; yields the address."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kept = {
                name: value for name, value in self.headers.items() if name.lower() not in ("if-none-match", "host")
            }
            there = http.client.HTTPConnection("127.0.0.1", store.port, timeout=10)
            there.request(self.command, self.path, body, {**kept, "Host": f"127.0.0.1:{store.port}"})
            answer = there.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name in ("ETag", "Content-Type"):
                if value := answer.headers.get(name):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            thread.join()


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Use a store from this process; what it knows of others is forgotten before and after."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(values)
    objects._filesystem.cache_clear()
    roots._usable.clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        objects._filesystem.cache_clear()
        roots._usable.clear()
