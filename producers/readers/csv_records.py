"""The CSV reader (RFC 4180): a header row, then a record a row; quoted fields may hold line breaks.

The columns are named as the fields are, or a mapping file says what they are. A bad row is set aside with the
line at which it begins; a header that does not fit is an error of the file, before anything is read.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO, Any

from producers.readers.mapping import LISTS, Age, CsvMapping, Drugs, FieldName, native
from producers.readers.ndjson import MAX_LINE, lines_of, vignette_of
from producers.readers.record import InputError, Read
from shared.errors import RecordError
from shared.schemas import Vignette

DELIMITERS = (",", ";", "\t", "|")
_CONTEXT = ("age", "sex", "specialty", "conditions", "allergies", "medications", "pregnant", "egfr")
_IDENTITY = ("names", "identifiers", "addresses", "contacts", "birth_date", "date")
_DAYS_A_YEAR = 365.25


class CsvFile:
    """One CSV file: its header is read at once, its rows lazily and once.

    Raises `InputError` for a header that cannot be read or does not fit.
    """

    def __init__(self, stream: IO[bytes], mapping: CsvMapping | None = None, file: str = "") -> None:
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))  # the library's only way: for the process
        self._file = file
        self._lines = _Lines(stream, mapping.encoding if mapping else "utf-8")
        try:
            first = next(self._lines, "")
        except _TooLong:
            reason = f"the first line is longer than the {MAX_LINE} bytes that are read"
            raise InputError(file, 1, reason, "name the columns in the first line") from None
        self.header = first.rstrip("\r\n")
        """The header row as it was sent, without its line's end."""
        if not first.strip():
            raise InputError(file, 1, "there is no header row", "name the columns in the first line")
        if any("\ud800" <= c <= "\udfff" for c in first):
            raise InputError(
                file, 1, "the header is not UTF-8", "save as UTF-8, or say encoding in a mapping"
            )
        delimiter = (mapping and mapping.delimiter) or _delimiter(first)
        try:
            names = next(csv.reader([first], delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise InputError(file, 1, f"the header is no CSV ({error})", "mend its quotes") from None
        self._columns = [name.strip() for name in names]
        twice = sorted({name for name in self._columns if self._columns.count(name) > 1})
        if twice:
            said = "a column is there twice: rename one"
            raise InputError(file, 1, f"the column {twice[0]!r} is there twice", "rename one", said)
        if mapping is None:
            mapping = native(self._columns, file)
        mapping.check(self._columns, file)
        self._mapping = mapping
        # the same row below another header, or under another mapping, is another record
        how = repr((self.header, replace(mapping, path=None, lines={})))
        self._reading = hashlib.sha256(how.encode()).hexdigest()
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)

    def records(self) -> Iterator[Read]:
        """The records, lazily. Empty lines are no errors."""
        while True:
            self._lines.begin()
            try:
                fields = next(self._reader)
            except StopIteration:
                return
            except csv.Error:
                reason = "the quotes of this row do not match: in a quoted field write a quote twice"
                error = RecordError("not_csv", reason)
            except _TooLong:
                reason = f"the row is longer than the {MAX_LINE} bytes that are read: is a quote not closed?"
                error = RecordError("too_long", reason)
            else:
                if not any(fields):
                    continue
                try:
                    yield self._read(vignette_of(self._values(fields)))
                    continue
                except RecordError as bad:
                    error = bad
            error.line = self._lines.began
            yield self._read(None, error)

    def _read(self, vignette: Vignette | None, error: RecordError | None = None) -> Read:
        """What has become of the row at which the lines stand."""
        return Read(self._lines.began, vignette, error, self._lines.text(), self._file, self._reading)

    def _values(self, fields: Sequence[str]) -> dict[str, Any]:
        """A row as a record's fields. Raises `RecordError`."""
        if len(fields) != len(self._columns):
            raise RecordError("columns", f"{len(fields)} fields where the header has {len(self._columns)}")
        row = dict(zip(self._columns, (value.strip() for value in fields), strict=True))
        text = "".join(row.values())
        if "\x00" in text:
            raise RecordError("nul_character", "the text holds a NUL character: remove it")
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise RecordError(
                "not_utf8", "is not UTF-8: save the file as UTF-8, or say encoding in a mapping"
            )
        made: dict[str, Any] = {"context": {}, "identity": {}}
        for name in self._mapping.fields:
            value = self._field(name, row)
            if value is not None and value != []:
                _place(made, name, value)
        for name, constant in self._mapping.constants.items():
            _place(made, name, constant)
        return made

    def _field(self, name: FieldName, row: dict[str, str]) -> Any:
        mapping, made_of = self._mapping, self._mapping.fields[name]
        if isinstance(made_of, Age):
            born = self._date(name, made_of.born, row[made_of.born])
            on = self._date(name, made_of.on, row[made_of.on])
            return None if born is None or on is None else years(born, on)
        if isinstance(made_of, Drugs):
            drugs, doses = (self._items(name, row[column]) for column in (made_of.name, made_of.dose))
            if doses and len(drugs) != len(doses):
                raise RecordError(
                    "columns",
                    f"{len(drugs)} names in column {made_of.name!r} and {len(doses)} doses in "
                    f"{made_of.dose!r}: give each a dose",
                    path=_path(name),
                )
            pairs = zip(drugs, doses or [""] * len(drugs), strict=True)
            return [{"name": drug, "dose": dose} if dose else {"name": drug} for drug, dose in pairs]
        if name == "vignette":
            parts = (_labelled(part.label, row[part.column]) for part in made_of)
            return "\n".join(part for part in parts if part)
        if name in LISTS:
            items = [item for part in made_of for item in self._items(name, row[part.column])]
            return [_drug(item) for item in items] if name == "medications" else items
        value = self._translated(name, row[made_of[0].column])
        if value == "":
            return None
        if name in ("birth_date", "date"):
            found = self._date(name, made_of[0].column, str(value))
            return found and found.isoformat()
        if name in ("age", "egfr") and isinstance(value, str):
            return value.replace(mapping.decimal, ".")
        return value

    def _items(self, name: FieldName, cell: str) -> list[str]:
        whole = self._mapping.values.get(name, {}).get(cell)
        parts = [cell] if whole is not None else cell.split(self._mapping.list_separator)
        found = (str(self._translated(name, part.strip())) for part in parts)
        return [item for item in found if item]

    def _translated(self, name: FieldName, value: str) -> Any:
        return self._mapping.values.get(name, {}).get(value, value)

    def _date(self, name: FieldName, column: str, value: str) -> dt.date | None:
        if not value:
            return None
        try:
            return dt.datetime.strptime(value, self._mapping.date_format).date()
        except ValueError:
            what = f"column {column!r} holds no date of the form {self._mapping.date_format}"
            raise RecordError("date", what, path=_path(name)) from None


class _TooLong(Exception):
    """A row goes on and on: the reader is stopped, and begins anew with the next line."""


class _Lines(Iterator[str]):
    """Decoded lines with their ends; bytes that do not decode come as surrogates: their row answers for them.

    Those since `begin` are kept: the row as it was sent.
    """

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._lines, self._encoding = lines_of(stream), encoding
        self._number, self._kept, self._size = 0, list[str](), 0
        self.began = 1

    def __next__(self) -> str:
        if self._size > MAX_LINE:
            raise _TooLong
        raw = next(self._lines)
        self._number += 1
        self._size += len(raw)
        if self._number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        line = raw.decode(self._encoding, errors="surrogateescape")
        self._kept.append(line)
        if self._size > MAX_LINE + len("\r\n"):
            raise _TooLong
        return line

    def begin(self) -> None:
        """What comes next is a new row."""
        self.began, self._kept, self._size = self._number + 1, [], 0

    def text(self) -> str:
        """The row as it was sent, without the last line's end; what does not decode is replaced."""
        text = "".join(self._kept)[:MAX_LINE].rstrip("\r\n")
        return text.encode(errors="surrogateescape").decode(errors="replace")


def years(born: dt.date, on: dt.date) -> float:
    """Completed years from one day to another; below two, with two decimals. Raises `RecordError`."""
    if on < born:
        raise RecordError("date", "the date lies before the date of birth", path="context.age")
    whole = on.year - born.year - ((on.month, on.day) < (born.month, born.day))
    return whole if whole >= 2 else round((on - born).days / _DAYS_A_YEAR, 2)


def _delimiter(header: str) -> str:
    """The one that stands most often in the header, outside of quotes."""
    plain = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=plain.count)


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if label and text else text


def _drug(item: str) -> dict[str, str]:
    """`warfarin: 5 mg daily`, or a name alone."""
    name, _, dose = item.partition(": ")
    return {"name": name, "dose": dose.strip()} if dose.strip() else {"name": name}


def _path(name: str) -> str:
    part = "context" if name in _CONTEXT else "identity" if name in _IDENTITY else ""
    return f"{part}.{name}" if part else name


def _place(made: dict[str, Any], name: str, value: Any) -> None:
    part = "context" if name in _CONTEXT else "identity" if name in _IDENTITY else ""
    (made[part] if part else made)[name] = value
