"""The quarantine file: what was set aside, in the input's own format, to be mended and sent again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from producers.readers.files import Input, InputFormat
from producers.readers.record import Read
from shared.errors import SettingsError


class Quarantine:
    """Writes records as they were sent: lines, rows below their header, an array; FHIR as NDJSON."""

    def __init__(self, stream: IO[str], format_: InputFormat, header: str) -> None:
        self._stream, self._format = stream, format_
        self._header = header
        self.written = 0

    def add(self, read: Read) -> None:
        """One record more."""
        text = read.sent()
        if self._format is InputFormat.fhir:
            text = _one_line(text)
        before = {InputFormat.json: "[\n" if not self.written else ",\n", InputFormat.csv: ""}
        if self._header and not self.written:
            self._stream.write(self._header + "\n")
        self._stream.write(before.get(self._format, "") + text)
        if self._format is not InputFormat.json:
            self._stream.write("\n")
        self.written += 1

    def end(self) -> None:
        """All is written."""
        if self._format is InputFormat.json and self.written:
            self._stream.write("\n]\n")


@contextmanager
def quarantine(
    path: Path | None, inputs: Sequence[Input], encoding: str = "utf-8"
) -> Iterator[Quarantine | None]:
    """The file at this path, for its owner alone; there whole or not at all, and only if something is in it.

    None without a path. Raises `SettingsError` where it cannot be written, or inputs of several formats (or
    CSV headers) would not fit into it.
    """
    if path is None:
        yield None
        return
    if len({(each.format, each.header) for each in inputs}) > 1:
        raise SettingsError(
            "--quarantine: the inputs differ in format or columns, and one file holds one: submit them apart"
        )
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        stream = open(  # noqa: SIM115
            os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600),
            "w",
            encoding=encoding,
            errors="replace",
            newline="",
        )
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        made = Quarantine(stream, inputs[0].format, inputs[0].header)
        yield made
        try:
            made.end()
            stream.close()
            if made.written:
                part.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from None
    finally:
        stream.close()
        part.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"--quarantine {path}: cannot be written: {error.strerror}")


def _one_line(text: str) -> str:
    """A FHIR resource on one line, whatever it was; what is no JSON at least loses its line breaks."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return " ".join(text.splitlines())
