"""The quarantine file: what was set aside, in the input's own format, to be mended and sent again."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from producers.readers.files import Input, InputFormat
from producers.readers.record import Read
from shared.errors import SettingsError


class Quarantine:
    """Writes records as they were sent: lines, rows below their header, an array; FHIR as NDJSON."""

    def __init__(self, path: Path, stream: IO[str], format_: InputFormat, header: str) -> None:
        self._path, self._stream, self._format = path, stream, format_
        self._header = header
        self.written = 0

    def add(self, read: Read) -> None:
        """One record more. Raises `SettingsError`."""
        text = read.sent()
        if self._format is InputFormat.fhir:
            text = _one_line(text)
        before = {InputFormat.json: "[\n" if not self.written else ",\n", InputFormat.csv: ""}
        header = self._header + "\n" if self._header and not self.written else ""
        after = "" if self._format is InputFormat.json else "\n"
        try:
            self._stream.write(header + before.get(self._format, "") + text + after)
        except OSError as error:
            raise _unwritable(self._path, error) from None
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

    None without a path. Raises `SettingsError` where something is there already, where it cannot be written,
    or where inputs of several formats (or CSV headers) would not fit into it.
    """
    if path is None:
        yield None
        return
    if len({(each.format, each.header) for each in inputs}) > 1:
        raise SettingsError(
            "--quarantine: the inputs differ in format or columns, and one file holds one: submit them apart"
        )
    if os.path.lexists(path):  # an input, what somebody has mended, a device
        raise SettingsError(f"--quarantine {path}: is there already: name another file, or move that one")
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # for its owner alone
        stream = open(number, "w", encoding=encoding, errors="replace", newline="")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(path, error) from None
    part = Path(name)
    try:
        made = Quarantine(path, stream, inputs[0].format, inputs[0].header)
        yield made
        try:
            made.end()
            stream.close()
            if made.written:
                part.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from None
    finally:
        with suppress(OSError):  # a full disk, told above
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
