"""Files of any format: opened, unpacked, recognised by content and name, and read as one batch."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast

from producers.readers.csv_records import DELIMITERS, CsvFile
from producers.readers.json_records import array_begins, read_json
from producers.readers.mapping import CsvMapping
from producers.readers.ndjson import lines_of, read_ndjson
from producers.readers.record import InputError, Read

if TYPE_CHECKING:
    from producers.readers.fhir import Account

HEAD = 64 * 1024
"""Bytes by which a format is recognised."""
GZIP = b"\x1f\x8b"
"""What begins every gzip file (RFC 1952, 2.3.1)."""
_JSON = re.compile(rb'[\[{]\s*["{\[\]}]')
_MARK = b"\xef\xbb\xbf"
_NOT_READ = {
    b"PK\x03\x04": ("is a ZIP archive or a workbook", "unpack it, or save the sheet as CSV"),
    b"\xff\xfe": ("is UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("is UTF-16", "save it as UTF-8"),
    b"%PDF": ("is a PDF", "send its text as NDJSON, JSON or CSV"),
}

Per = Literal["patient", "encounter"]


class TooLong(InputError):
    """An input is longer than may be sent."""


class InputFormat(StrEnum):
    """How the input is written."""

    auto = "auto"
    ndjson = "ndjson"
    json = "json"
    csv = "csv"
    fhir = "fhir"


@dataclass(frozen=True)
class Input:
    """One input, opened: its name for messages, what it is, and its uncompressed content."""

    name: str
    format: InputFormat
    stream: IO[bytes]
    csv: CsvFile | None = None  # its header is read

    @property
    def header(self) -> str:
        """What stands above the records, "" for anything but CSV."""
        return self.csv.header if self.csv else ""


def open_inputs(
    stack: ExitStack,
    names: Sequence[str],
    format_: InputFormat = InputFormat.auto,
    *,
    mapping: CsvMapping | None = None,
    progress: Callable[[int], object] = lambda _bytes: None,
) -> list[Input]:
    """Open every input before anything is read; `-` is standard input. `progress` is told bytes as they lie.

    Raises `InputError` for what cannot be read: no such file, a format that is not known, a wrong header.
    """
    return [_open(stack, name, format_, mapping, progress) for name in names]


def open_stream(
    stack: ExitStack,
    raw: IO[bytes],
    format_: InputFormat = InputFormat.auto,
    *,
    shown: str,
    name: str = "",
    mapping: CsvMapping | None = None,
    most: int | None = None,
    held: int | None = None,
) -> Input:
    """An input that is open already, plain or gzip; `shown` is its name in messages.

    `most`: bytes, packed or not, beyond which reading raises `TooLong`. Of FHIR that cannot be rewound,
    `held` bytes are kept in memory (None: all), for no text goes into a temporary file: of what is longer,
    records that are set aside come without their text. Raises `InputError` as `open_inputs` does.
    """

    def bounded(stream: IO[bytes]) -> IO[bytes]:
        if most is None:
            return stream
        return cast(IO[bytes], io.BufferedReader(_Bounded(stream, most, shown), HEAD))

    again = raw.seekable() and most is None
    try:
        head, stream = _begun(raw, again)
        if head.startswith(GZIP):
            packed = gzip.GzipFile(fileobj=bounded(stream))  # nothing comes of padding and empty members
            unzipped = cast(IO[bytes], stack.enter_context(packed))
            head, stream = _begun(bounded(unzipped), again)
        else:
            stream = bounded(stream)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _broken(shown, None) from None
    for magic, (reason, remedy) in _NOT_READ.items():
        if head.startswith(magic):
            raise InputError(shown, None, reason, remedy)
    if format_ is InputFormat.auto:
        format_ = detect(head, name)
        one_column = format_ is InputFormat.ndjson and not _is_json(head)  # which has no delimiter
        if mapping is not None and one_column:
            format_ = InputFormat.csv
    if format_ is InputFormat.fhir and not again:  # it is read twice
        start, stream = (stream.read(), stream) if held is None else _begun(stream, False, held)
        if held is None or len(start) < held:
            stream = io.BytesIO(start)
    if format_ is not InputFormat.csv:
        return Input(shown, format_, stream)
    return Input(shown, format_, stream, CsvFile(stream, mapping, shown))


def sizes(names: Sequence[str]) -> int | None:
    """Bytes of all inputs as they lie; None where one is not a file (standard input, a pipe)."""
    paths = [Path(name) for name in names]
    if not all(name != "-" and path.is_file() for name, path in zip(names, paths, strict=True)):
        return None
    return sum(path.stat().st_size for path in paths)


def read_inputs(
    inputs: Sequence[Input], *, per: Per = "patient", account: Account | None = None
) -> Iterator[Read]:
    """The records of all inputs, lazily, in their order; FHIR inputs are read together, after the others.

    `account` is told what became of each FHIR resource. Raises `InputError` with the file and the last line
    that was read where one cannot be read further.
    """
    for each in inputs:
        if each.format is not InputFormat.fhir:
            yield from _checked(each.name, _records(each))
    fhir = [(each.name, each.stream) for each in inputs if each.format is InputFormat.fhir]
    if fhir:
        from producers.readers.fhir import Account, read_fhir

        yield from _checked("", read_fhir(fhir, per=per, account=account or Account()))


def _is_json(head: bytes) -> bool:
    """Whether an input begins as JSON does, and no header of a CSV."""
    return _JSON.match(head.removeprefix(_MARK).lstrip()) is not None


def detect(head: bytes, name: str = "") -> InputFormat:
    """The format of an input by its first bytes (up to `HEAD`), and by its name where these leave it open."""
    text = head.removeprefix(_MARK).lstrip()
    if text.startswith(b"<") or b'"resourceType"' in text or b'"hookInstance"' in text:
        from producers.readers.fhir import looks_like_fhir

        if looks_like_fhir(head):
            return InputFormat.fhir
    suffixes = set(Path(name).suffixes)
    if {".ndjson", ".jsonl"} & suffixes and text[:1] != b"[":
        return InputFormat.ndjson
    if {".csv", ".tsv"} & suffixes and not _is_json(head):
        return InputFormat.csv
    first, _, rest = text.partition(b"\n")
    if text[:1] not in (b"{", b"["):
        columns = any(each.encode() in first for each in DELIMITERS)
        return InputFormat.csv if columns else InputFormat.ndjson
    try:
        alone = json.loads(first)
    except (ValueError, RecursionError):
        # a record of many lines, an array, or a first line that is cut
        begun = array_begins(text) is not None or first.rstrip()[-1:] in (b"{", b"[", b",", b":")
        return InputFormat.json if begun else InputFormat.ndjson
    whole = isinstance(alone, dict) and array_begins(first) is None
    return InputFormat.ndjson if whole or rest.strip() else InputFormat.json


def _open(
    stack: ExitStack,
    name: str,
    format_: InputFormat,
    mapping: CsvMapping | None,
    progress: Callable[[int], object],
) -> Input:
    shown = "standard input" if name == "-" else name
    try:
        raw = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))  # noqa: SIM115
        counted = cast(IO[bytes], io.BufferedReader(_Counted(raw, progress), HEAD))
        return open_stream(stack, counted, format_, shown=shown, name=name, mapping=mapping)
    except OSError as error:
        raise InputError("", None, f"{name} cannot be read", error.strerror or "look at the file") from None


def _records(each: Input) -> Iterator[Read]:
    if each.csv is not None:
        return each.csv.records()
    if each.format is InputFormat.json:
        return read_json(each.stream, each.name)
    return read_ndjson(lines_of(each.stream), each.name)


def _checked(name: str, reads: Iterator[Read]) -> Iterator[Read]:
    """The same, and an error of the file below them as one of the input."""
    file, line = name, None
    try:
        for read in reads:
            file, line = read.file, read.line
            yield read
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _broken(file, line) from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(file, line, f"cannot be read further than this ({why})", "read it again") from None


def _broken(name: str, line: int | None) -> InputError:
    after = " after this" if line else ""
    return InputError(name, line, f"the gzip data is broken or cut short{after}", "fetch the file again")


class _Counted(io.RawIOBase):
    """A stream that says how much of it has been read, once however often it is read."""

    def __init__(self, raw: IO[bytes], progress: Callable[[int], object]) -> None:
        self._raw, self._progress = raw, progress
        self._at = self._furthest = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._raw.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = self._raw.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._raw.read(len(buffer))
        buffer[: len(block)] = block
        self._at += len(block)
        if self._at > self._furthest:
            self._progress(self._at - self._furthest)
            self._furthest = self._at
        return len(block)


class _Bounded(io.RawIOBase):
    """A stream that is read up to so many bytes, and that cannot be read again."""

    def __init__(self, raw: IO[bytes], most: int, shown: str) -> None:
        self._raw, self._left, self._most, self._shown = raw, most, most, shown

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._raw.read(len(buffer))
        self._left -= len(block)
        if self._left < 0:
            raise TooLong(
                self._shown, None, f"is longer than the {self._most} bytes that are taken", "split it"
            )
        buffer[: len(block)] = block
        return len(block)


class _Begun(io.RawIOBase):
    """A stream whose first bytes have been read already, and that cannot be read again."""

    def __init__(self, head: bytes, raw: IO[bytes]) -> None:
        self._head, self._raw = head, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._head[: len(buffer)] or self._raw.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(block)] = block
        return len(block)


def _begun(stream: IO[bytes], again: bool, size: int = HEAD) -> tuple[bytes, IO[bytes]]:
    """The first `size` bytes of a stream, and the stream from its beginning."""
    head = b""
    while len(head) < size and (block := stream.read(size - len(head))):
        head += block
    if again:
        stream.seek(0)
        return head, stream
    return head, cast(IO[bytes], io.BufferedReader(_Begun(head, stream), HEAD))
