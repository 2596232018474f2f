"""A host in a network namespace reaches the relayed ports, nothing while it is cut off, and them again."""

from __future__ import annotations

import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.supervisor import Spec
from tests.faults.hosts import CannotSeparate, Host


class _Greeting(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"hello\n")


@pytest.fixture
def port() -> Iterator[int]:
    """A server on loopback that greets."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Greeting) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def greeted(host: Host, address: str, port: int, *, within_s: int = 30) -> str:
    """What a client on that host hears there."""
    command = f"exec 3<>/dev/tcp/{address}/{port} && head -n 1 <&3"
    argv = ["timeout", str(within_s), "bash", "-c", command]
    spec = Spec(name="client", argv=argv, cwd=Path("/"), env={}, ready="", stage=0)
    return subprocess.run(host.spec(spec).argv, capture_output=True, text=True, check=False).stdout


def test_cut_off_and_joined(port: int) -> None:
    """Through the gateway only, and only while the link is up."""
    try:
        with Host("t", 9, [port]) as host:
            assert greeted(host, host.gateway, port) == "hello\n"
            assert greeted(host, "127.0.0.1", port) == ""
            host.cut()
            assert greeted(host, host.gateway, port, within_s=1) == ""
            host.join()
            assert greeted(host, host.gateway, port) == "hello\n"
    except CannotSeparate as reason:
        pytest.skip(str(reason))
