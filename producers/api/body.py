"""A request's body as it comes in: its format by the headers, its bytes as a file that a thread reads."""

from __future__ import annotations

import io
from contextlib import ExitStack
from typing import IO, cast

import anyio
from anyio import from_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from producers.api.problems import Problem
from producers.readers.files import GZIP, Input, InputFormat, open_stream
from producers.readers.mapping import CsvMapping
from shared.errors import ConsiliumError

SHOWN = "the body"
IDLE_S = 60.0
"""Seconds without a byte after which a client is taken for gone."""
HELD = 16 * 1024 * 1024
"""Bytes of FHIR that are kept, so that what is set aside can be handed back as it was sent."""
BLOCK = 256 * 1024

FORMATS = {
    **dict.fromkeys(("application/x-ndjson", "application/ndjson"), InputFormat.ndjson),
    **dict.fromkeys(("application/json-lines", "application/jsonl"), InputFormat.ndjson),
    **dict.fromkeys(("application/fhir+json", "application/fhir+ndjson"), InputFormat.fhir),
    "text/csv": InputFormat.csv,
    # these say little: the content tells
    **dict.fromkeys(("application/json", "text/plain", "application/octet-stream"), InputFormat.auto),
    **dict.fromkeys(("application/gzip", ""), InputFormat.auto),
}
"""Content types, and what they are read as."""
_CHARSETS = {"", "utf-8", "utf8", "us-ascii"}


class Lost(ConsiliumError):
    """The client went away, or was silent for `IDLE_S`, before its body was complete."""


def open_body(stack: ExitStack, request: Request, most: int, mapping: CsvMapping | None) -> Input:
    """The body, to be read in a worker thread, once, in flat memory; at most so many bytes unpacked.

    Raises `Problem` (413 too long, 415 a type, charset or coding that is not read), `InputError` (what comes
    is not what it is said to be) and `Lost`; while it is read `TooLong`, `InputError` and `Lost`.
    """
    kind, _, options = request.headers.get("content-type", "").partition(";")
    format_ = FORMATS.get(kind.strip().lower())
    if format_ is None:
        known = ", ".join(sorted(name for name in FORMATS if name))
        raise _not_read(f"this content type is not read: send one of {known}")
    charset = options.lower().partition("charset=")[2].split(";")[0].strip(' "')
    if charset not in _CHARSETS and (mapping is None or mapping.encoding == "utf-8"):
        raise _not_read("the charset is not UTF-8: send UTF-8, or for CSV say encoding in the mapping")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise _not_read("this content coding is not read: send gzip, or none")
    if int(request.headers.get("content-length", "0")) > most:
        raise Problem(
            413, f"the body is longer than the {most} bytes that are taken: split it", type_="too-long"
        )
    raw = cast("io.BufferedReader", io.BufferedReader(_Body(request), BLOCK))
    if coding != "identity" and not raw.peek(len(GZIP)).startswith(GZIP):
        raise Problem(400, "the body is not gzip, as its Content-Encoding says", type_="unreadable-input")
    if mapping is not None and format_ is InputFormat.auto:
        format_ = InputFormat.csv
    return open_stream(
        stack, cast(IO[bytes], raw), format_, shown=SHOWN, mapping=mapping, most=most, held=HELD
    )


def _not_read(detail: str) -> Problem:
    return Problem(415, detail, type_="unsupported", headers={"Accept-Encoding": "gzip"})


class _Body(io.RawIOBase):
    """The body as a stream for a worker thread; each block is fetched from the event loop when it is wanted,
    so that a client which sends faster than we store is held back by TCP."""

    def __init__(self, request: Request) -> None:
        self._blocks = request.stream()
        self._block = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._block:
            block = from_thread.run(self._next)
            if block is None:
                return 0
            self._block = memoryview(block)
        n = min(len(buffer), len(self._block))
        buffer[:n] = self._block[:n]
        self._block = self._block[n:]
        return n

    async def _next(self) -> bytes | None:
        try:
            with anyio.fail_after(IDLE_S):
                return await anext(self._blocks, None)
        except (ClientDisconnect, TimeoutError):
            raise Lost("the body broke off: send it again, under the same Idempotency-Key") from None
