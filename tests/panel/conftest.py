"""A real panel in its own process for each test that asks for one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.panel.world import ROOT


@dataclass
class Server:
    """A running panel and a client for it."""

    url: str
    pid: int
    client: httpx.Client

    def ask(self, body: dict[str, object], request_id: str = "k:1") -> httpx.Response:
        """One chat completion."""
        return self.client.post("/v1/chat/completions", json=body, headers={"X-Request-ID": request_id})

    def ask_all(self, asked: list[tuple[dict[str, object], str]], width: int = 50) -> list[httpx.Response]:
        """Many chat completions, `width` at once, answers in the order of the questions."""

        async def run() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=width)
            async with httpx.AsyncClient(base_url=self.url, limits=limits, timeout=60) as client:
                return await asyncio.gather(
                    *(
                        client.post("/v1/chat/completions", json=body, headers={"X-Request-ID": rid})
                        for body, rid in asked
                    )
                )

        return asyncio.run(run())

    def ledger(self) -> dict[str, Any]:
        """The panel's books."""
        return self.client.get("/ledger").json()

    def faults(self, table: object) -> None:
        """Sets the faults."""
        self.client.post("/control/faults", json=table).raise_for_status()


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """A panel on a free port, faults off and instant unless `options` say otherwise."""
    command = [sys.executable, "-m", "panel", "serve", "--port", "0", "--faults", "off", "--delay", "0"]
    with subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with httpx.Client(base_url=url, timeout=30) as client:
                yield Server(url, process.pid, client)
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def panel() -> Iterator[Callable[..., Server]]:
    """Starts panels with the given options; all end with the test."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(running(*options))
