"""The reader of history files: CSV, gzip or not, streamed. A bad row is set aside with line and reason."""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from shared.errors import ConsiliumError
from shared.history import COLUMNS, HistoryRow

MAX_FIELD = 8 * 1024 * 1024
"""Longest field that is read, in characters, and longest line, in bytes: this bounds the memory."""
LONGEST = {"trial": 200, "model": 200, "task": 300, "id": 60, "elapsed": 60, "strategy": 60}
"""Characters that are kept of a text; longer ones are set aside, not cut."""
_MOST = {  # a number beyond it is a mistake, and one such would outweigh all others in what is learned
    "latency": 1e7,  # seconds: a third of a year
    "temperature": 100.0,
    "quality": 10.0,
    "generation_accuracy": 1.0,
    "variance": 1e4,
    "review_accuracy": 1.0,
    "accuracy": 1.0,
}
_NEEDED = ("trial", "model", "task", "strategy")


class HistoryFileError(ConsiliumError):
    """A file cannot be read as history at all; the message says why and what to do."""

    exit_code = 2


@dataclass(frozen=True)
class BadRow:
    """A row that was set aside: the 1-based line where its record begins, the column, our words for why."""

    line: int
    column: str  # "" where it is about the row as a whole
    reason: str

    def __str__(self) -> str:
        return f"{self.column}: {self.reason}" if self.column else self.reason


class _Bad(Exception):
    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column, self.reason = column, reason


def read_history(
    path: Path, *, progress: Callable[[int], object] = lambda _bytes: None
) -> Iterator[HistoryRow | BadRow]:
    """The rows of a history file in its order, lazily, in flat memory.

    Columns go by the names in the first line, in any order; further columns are left alone. Empty means
    unknown where a number or a time may be. `progress` is told the bytes of each line (uncompressed).
    Raises `HistoryFileError` if the file cannot be opened, is no CSV or broken gzip, or lacks columns (it
    names them).
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))  # the library's only way: for the process
    with opened(path) as stream:
        lines = _Lines(_decoded(path, stream, progress))
        reader = csv.reader(lines, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
        except csv.Error:
            header = []
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise HistoryFileError(
                f"{path}: no column {', '.join(missing)}; a history has {', '.join(COLUMNS)}"
            )
        places = {name: header.index(name) for name in COLUMNS}
        while True:
            lines.begin()
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error:
                lines.give_back()
                reason = f"its quotes do not match, or a field is longer than {MAX_FIELD} characters"
                yield BadRow(lines.began, "", f"{reason}: in a quoted field write a quote twice")
                continue
            if fields:
                yield _row(lines, fields, places, len(header))


def file_digest(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) of a file's content and its bytes, both uncompressed. Raises `HistoryFileError`."""
    digest, size = hashlib.sha256(), 0
    with opened(path) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file for reading, uncompressed if it is gzip by its content. Raises `HistoryFileError`."""
    try:
        with path.open("rb") as raw:
            if raw.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(raw) as unzipped:
                    yield cast(IO[bytes], unzipped)
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise HistoryFileError(f"{path}: the gzip data is broken or cut short: fetch it again") from None
    except OSError as error:
        raise HistoryFileError(f"{path} cannot be read: {error.strerror}") from None


class _Lines(Iterator[str]):
    """Lines, those of the row that is being read kept: a quote left open costs one line and not the rest."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again, self._row = deque[str](), list[str]()
        self.began = 1

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._row.append(line)
        return line

    def begin(self) -> None:
        """What comes next is a new row."""
        self.began += len(self._row)
        self._row = []

    def give_back(self) -> None:
        """All lines of this row but its first come again."""
        self._again.extendleft(reversed(self._row[1:]))
        del self._row[1:]

    @property
    def last(self) -> int:
        """The line that was read last."""
        return self.began + len(self._row) - 1


def _decoded(path: Path, stream: IO[bytes], progress: Callable[[int], object]) -> Iterator[str]:
    """Lines with their ends; bytes that are no UTF-8 come as surrogates, which their row answers for."""
    number = 0
    while line := stream.readline(MAX_FIELD + 1):
        number += 1
        progress(len(line))
        if len(line) > MAX_FIELD:
            raise HistoryFileError(f"{path}, line {number}: longer than {MAX_FIELD} bytes: is it a CSV?")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield line.decode(errors="surrogateescape")


def _row(lines: _Lines, fields: list[str], places: dict[str, int], width: int) -> HistoryRow | BadRow:
    if len(fields) != width:
        end = f", up to line {lines.last}: is a quote left open?" if lines.last > lines.began else ""
        return BadRow(lines.began, "", f"{len(fields)} fields where the first line has {width}{end}")
    given = {name: fields[place] for name, place in places.items()}
    try:
        for name, value in given.items():
            if name != "result":
                _plain(name, value)
        for name in _NEEDED:
            if not given[name].strip():
                raise _Bad(name, "is empty")
        if _is_number_or_time(given["strategy"]):
            raise _Bad("strategy", "holds no name: is it missing, and what follows moved left?")
        number = {name: _number(name, given[name]) for name in _MOST}
        return HistoryRow(
            trial=given["trial"],
            model=given["model"],
            task=given["task"],
            latency_s=number["latency"],
            temperature=number["temperature"],
            item=given["id"],
            result=given["result"],
            quality=number["quality"],
            generation_accuracy=number["generation_accuracy"],
            variance=number["variance"],
            review_accuracy=number["review_accuracy"],
            accuracy=number["accuracy"],
            elapsed=given["elapsed"] or None,
            strategy=given["strategy"],
            created=_time(given["created"]),
        )
    except _Bad as bad:
        return BadRow(lines.began, bad.column, bad.reason)


def _plain(name: str, value: str) -> None:
    if len(value) > LONGEST.get(name, 100):
        raise _Bad(name, f"longer than {LONGEST.get(name, 100)} characters")
    if "\x00" in value:
        raise _Bad(name, "holds a NUL character")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise _Bad(name, "is not UTF-8: save the file as UTF-8")


def _number(name: str, value: str) -> float | None:
    if not value.strip():
        return None
    try:
        found = float(value)
    except ValueError:
        raise _Bad(name, "is not a number") from None
    if not math.isfinite(found):
        raise _Bad(name, "is not a finite number")
    if found < 0:
        raise _Bad(name, "is below 0")
    if found > _MOST[name]:
        raise _Bad(name, f"is not from 0 to {_MOST[name]:.10g}")
    return found


def _time(value: str) -> datetime | None:
    if not value.strip():
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Bad("created", "is no time such as 2026-01-31 12:00:00") from None


def _is_number_or_time(value: str) -> bool:
    for read in (float, datetime.fromisoformat):
        try:
            read(value.strip())
        except ValueError:
            continue
        return True
    return False
