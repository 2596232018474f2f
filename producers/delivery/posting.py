"""One webhook's HTTP client: it connects to addresses that were looked at, and ends within one deadline.

httpcore's network backend is ours, as in `workers.clients.connections`: it resolves the name, looks at every
address and connects to one of those, so that a name that answers otherwise the next time (DNS rebinding)
gains nothing; and each wait gets what is left of the deadline, so that a receiver that sends a byte now and
then does not hold us. No redirect is followed, no proxy of the environment asked.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from producers.delivery.addresses import RefusedAddress, UnknownName, resolved

TIMEOUT_S = 15.0
"""Seconds for all of one attempt, but for resolving the name."""
MAX_ANSWER = 16 * 1024
"""Bytes of an answer that are read, to be dropped: whoever sends more gets a new connection."""


class NotDelivered(Exception):
    """No answer, or none that says that it was taken: `error` is its kind."""

    def __init__(self, error: str, status: int | None = None, retry_after_s: float = 0) -> None:
        super().__init__(error)
        self.error, self.status, self.retry_after_s = error, status, retry_after_s


class Poster:
    """Sends to one webhook, one request at a time over a kept connection."""

    def __init__(self, *, private: bool, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._network = _Network(private)
        transport = httpx.HTTPTransport(verify=_tls(), trust_env=False)
        # httpx hands no network backend through to httpcore, so its (still empty) pool is replaced
        transport._pool = httpcore.ConnectionPool(_tls(), max_connections=1, network_backend=self._network)
        self._client = httpx.Client(transport=transport, trust_env=False, follow_redirects=False)

    def __enter__(self) -> Poster:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of an answer that says that it was taken (2xx). Raises `NotDelivered`."""
        self._network.until = time.monotonic() + self._timeout_s
        given = {"content-type": "application/json", "user-agent": "consilium", **headers}
        try:
            with self._client.stream("POST", url, headers=given, content=body) as answer:
                _drop(answer)
        except RefusedAddress:
            raise NotDelivered("address refused") from None
        except UnknownName:
            raise NotDelivered("unknown name") from None
        except httpx.TimeoutException:
            raise NotDelivered("timed out") from None
        except httpx.ConnectError as error:
            raise NotDelivered("TLS refused" if _is_tls(error) else "no connection") from None
        except httpx.HTTPError:
            raise NotDelivered("broken HTTP") from None
        except httpx.InvalidURL:
            raise NotDelivered("not a URL") from None
        status = answer.status_code
        if answer.is_success:
            return status
        kind = "redirected" if answer.is_redirect else f"HTTP {status}"
        raise NotDelivered(kind, status, _seconds(answer.headers.get("retry-after", "")))


def _drop(answer: httpx.Response) -> None:
    """Read what else is sent, so that the connection can be kept; what was said counts without it."""
    read = 0
    with contextlib.suppress(httpx.HTTPError):
        for block in answer.iter_raw():
            read += len(block)
            if read > MAX_ANSWER:
                break


class _Network(httpcore.NetworkBackend):
    def __init__(self, private: bool) -> None:
        self._private = private
        self._sockets = httpcore.SyncBackend()
        self.until = 0.0  # time.monotonic(), of the present request

    def left(self) -> float:
        if (left := self.until - time.monotonic()) <= 0:
            raise httpcore.ReadTimeout
        return left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 (httpcore's signature; the deadline is ours)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = resolved(host, port, private=self._private)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                stream = self._sockets.connect_tcp(
                    address, port, self.left() / left, local_address, socket_options
                )
                return _Stream(stream, self.left)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
        raise UnknownName


class _Stream(httpcore.NetworkStream):
    """A stream whose waits end at the request's deadline."""

    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._stream, self._left = stream, left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@lru_cache(maxsize=1)  # 20 ms each
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _is_tls(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
