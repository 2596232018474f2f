"""Worker hosts on one machine: each a network namespace with one link to the servers, which can be cut.

    with Host("a", 1, ports) as host:           # 10.231.1.2; the servers are at 10.231.1.1
        supervisor.start(host.spec(...))
        host.cut()                              # as a pulled cable: nobody is told
        host.join()

The embedded servers and the panel listen on loopback alone: a relay of bytes takes their ports on this side
of the link, and the cut is between it and the host. Only root may make a namespace (else `CannotSeparate`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Collection
from dataclasses import replace

from embedded.supervisor import Spec

_LOOPBACK = "127.0.0.1"
_BLOCK = 65_536


class CannotSeparate(Exception):
    """No network namespace can be made here; the message says why."""


class Host:
    """A host of this name inside the `with`, on the private network 10.231.`number`.0/30.

    It reaches nothing but `ports` of this machine's loopback, under the address `gateway`. Raises
    `CannotSeparate`.
    """

    def __init__(self, name: str, number: int, ports: Collection[int]) -> None:
        self.name, self.gateway = name, f"10.231.{number}.1"
        self._address = f"10.231.{number}.2"
        self._namespace = f"consilium-{os.getpid()}-{name}"
        self._link = f"cns{os.getpid()}{name}"[:15]
        self._relay = Relay(self.gateway, ports)

    def __enter__(self) -> Host:
        if os.geteuid() != 0:
            raise CannotSeparate("a network namespace can be made by root only")
        if shutil.which("ip") is None:
            raise CannotSeparate("there is no command `ip` (Debian: iproute2)")
        with contextlib.ExitStack() as undo:
            _ip("netns", "add", self._namespace)
            undo.callback(_ip, "netns", "del", self._namespace)  # and the link with it
            there = ("-n", self._namespace)
            _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
            _ip("addr", "add", f"{self.gateway}/30", "dev", self._link)
            _ip(*there, "addr", "add", f"{self._address}/30", "dev", "eth0")
            _ip(*there, "link", "set", "lo", "up")
            _ip(*there, "link", "set", "eth0", "up")
            self.join()
            undo.enter_context(self._relay)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def spec(self, spec: Spec) -> Spec:
        """The same process on this host; its addresses must be those of `gateway` already."""
        return replace(spec, argv=["ip", "netns", "exec", self._namespace, *spec.argv])

    def cut(self) -> None:
        """Nothing passes any more, in either direction; no connection is closed."""
        _ip("link", "set", self._link, "down")

    def join(self) -> None:
        """It passes again."""
        _ip("link", "set", self._link, "up")


class Relay:
    """Inside the `with` what comes to `address` on any of `ports` goes on to the same port of loopback."""

    def __init__(self, address: str, ports: Collection[int]) -> None:
        self._address, self._ports = address, ports
        self._loop = asyncio.new_event_loop()
        self._passing: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Relay:
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._servers = [
            await asyncio.start_server(lambda r, w, p=port: self._pass(p, r, w), self._address, port)
            for port in self._ports
        ]

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _pass(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # either side may be gone
                onward_reader, onward_writer = await asyncio.open_connection(_LOOPBACK, port)
                try:
                    both = [_pump(reader, onward_writer), _pump(onward_reader, writer)]
                    ways = [asyncio.ensure_future(way) for way in both]
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
                finally:
                    onward_writer.close()
        finally:
            writer.close()
            self._passing.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(_BLOCK):
        writer.write(block)
        await writer.drain()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotSeparate(f"ip {' '.join(words[:3])}: {done.stderr.strip()[-200:]}")
