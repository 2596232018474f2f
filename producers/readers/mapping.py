"""The mapping file (TOML): which column of a CSV file is which field of a vignette, and how values read."""

from __future__ import annotations

import datetime as dt
import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from producers.readers.record import InputError
from shared.errors import SettingsError
from shared.toml_lines import Key, fault, lines_of, syntax_fault

FieldName = Literal[
    "id", "vignette", "kind",
    "age", "sex", "specialty", "conditions", "allergies", "medications", "pregnant", "egfr",
    "names", "identifiers", "addresses", "contacts", "birth_date", "date",
]  # fmt: skip
FIELDS: tuple[FieldName, ...] = get_args(FieldName)
"""Fields of a row; also the columns that need no mapping."""
LISTS = frozenset({"conditions", "allergies", "medications", "names", "identifiers", "addresses", "contacts"})
Scalar = str | int | float | bool


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Table):
    """A column; in the vignette's text its label stands before it ("Findings: …")."""

    column: str
    label: str = ""


class Age(_Table):
    """Years from one column's date to another's."""

    born: str
    on: str


class Drugs(_Table):
    """Two columns with lists of the same length."""

    name: str
    dose: str


def _parts(value: Any) -> Any:
    """A column's name, or a table, or several of these: always several."""
    each = value if isinstance(value, list) else [value]
    return [{"column": one} if isinstance(one, str) else one for one in each]


Parts = Annotated[list[Part], BeforeValidator(_parts), Field(min_length=1)]


class _Fields(_Table):
    id: Parts = []
    vignette: Parts = []
    kind: Parts = []
    age: Annotated[Age | Parts, Field(union_mode="left_to_right")] = []
    sex: Parts = []
    specialty: Parts = []
    conditions: Parts = []
    allergies: Parts = []
    medications: Annotated[Drugs | Parts, Field(union_mode="left_to_right")] = []
    pregnant: Parts = []
    egfr: Parts = []
    names: Parts = []
    identifiers: Parts = []
    addresses: Parts = []
    contacts: Parts = []
    birth_date: Parts = []
    date: Parts = []


def _date_format(date_format: str) -> str:
    day = dt.datetime(2001, 2, 3, tzinfo=dt.UTC)
    try:
        if dt.datetime.strptime(day.strftime(date_format), date_format).year == day.year:
            return date_format
    except (ValueError, re.error):  # a directive that there is not, or one twice
        pass
    raise ValueError("is no form of a date, such as %d.%m.%Y")


class _File(_Table):
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    encoding: Literal["utf-8", "cp1252", "iso-8859-1", "iso-8859-15"] = "utf-8"
    list_separator: str = Field(";", min_length=1)
    date_format: Annotated[str, AfterValidator(_date_format)] = "%Y-%m-%d"
    decimal: Literal[".", ","] = "."
    fields: _Fields
    constants: dict[FieldName, Scalar | list[str]] = {}
    values: dict[FieldName, dict[str, Scalar]] = {}


@dataclass(frozen=True)
class CsvMapping:
    """How the rows of a CSV file become vignettes."""

    fields: Mapping[FieldName, Sequence[Part] | Age | Drugs]
    constants: Mapping[FieldName, Scalar | Sequence[str]] = field(default_factory=dict)
    values: Mapping[FieldName, Mapping[str, Scalar]] = field(default_factory=dict)
    delimiter: str | None = None  # None: as the header row tells
    encoding: str = "utf-8"
    list_separator: str = ";"
    date_format: str = "%Y-%m-%d"  # of strptime
    decimal: str = "."
    path: Path | None = None
    lines: Mapping[Key, int] = field(default_factory=dict)

    def columns(self) -> Iterator[tuple[FieldName, str]]:
        """Every column that a field is made of."""
        for name, made_of in self.fields.items():
            if isinstance(made_of, Age):
                yield from ((name, made_of.born), (name, made_of.on))
            elif isinstance(made_of, Drugs):
                yield from ((name, made_of.name), (name, made_of.dose))
            else:
                yield from ((name, part.column) for part in made_of)

    def check(self, header: Sequence[str], file: str) -> None:
        """Raises `InputError` for a column that the file does not have, with those that it has."""
        if not {column for _, column in self.columns()} & set(header):
            raise _no_header(file, "none of the columns that the mapping names")
        faults = []
        for name, column in self.columns():
            if column not in header:
                close = difflib.get_close_matches(column, header, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                faults.append(self._fault(("fields", name), f"there is no column {column!r}{hint}"))
        if faults:
            raise InputError(
                file,
                1,
                "\n".join(faults),
                f"the columns are {', '.join(header)}",
                "the header row lacks a column that the mapping names: correct one of the two",
            )

    def _fault(self, key: Key, what: str) -> str:
        return what if self.path is None else fault(self.path, self.lines, key, what)


def _no_header(file: str, lacks: str) -> InputError:
    """It may be a record that stands there: it is not quoted."""
    what = f"the first line holds {lacks}"
    remedy = "is the header row missing, or the delimiter another?"
    return InputError(file, 1, what, remedy, f"{what}: {remedy}")


def native(header: Sequence[str], file: str) -> CsvMapping:
    """The mapping of a file whose columns are fields.

    Raises `InputError` where one is not, or id or vignette is missing.
    """
    if not set(header) & set(FIELDS):
        raise _no_header(file, f"no column out of {', '.join(FIELDS)} (for others give --mapping FILE.toml)")
    unknown = [column for column in header if column not in FIELDS]
    missing = [name for name in ("id", "vignette") if name not in header]
    if unknown or missing:
        said = [f"no column {name}" for name in missing] + [f"unknown column {name!r}" for name in unknown]
        raise InputError(
            file,
            1,
            "; ".join(said),
            f"the first line names columns out of {', '.join(FIELDS)}; for others give --mapping FILE.toml",
            "the header row lacks id or vignette, or has columns that are not known: name columns out of "
            f"{', '.join(FIELDS)}, or give a mapping",
        )
    return CsvMapping({name: [Part(column=name)] for name in FIELDS if name in header})


def load_mapping(path: Path) -> CsvMapping:
    """Read a mapping file. Raises `SettingsError` with one `file:line: key: what and remedy` per fault."""
    try:
        return parse_mapping(path.read_text(encoding="utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__}): name a UTF-8 file") from None


def parse_mapping(text: str, path: Path) -> CsvMapping:
    """The mapping that a text (TOML) gives; faults name `path`. Raises as `load_mapping` does."""
    try:
        given = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(syntax_fault(path, text, str(error))) from None
    except ValidationError as error:
        lines = lines_of(text)
        said = {
            fault(path, lines, _known(each["loc"], lines), _remedy(each["type"], each["msg"], each["loc"]))
            for each in error.errors(include_url=False, include_input=False)
        }
        raise SettingsError("\n".join(sorted(said))) from None
    lines = lines_of(text)
    fields: dict[FieldName, Sequence[Part] | Age | Drugs] = {
        name: made_of for name in FIELDS if (made_of := getattr(given.fields, name))
    }
    faults = [
        fault(path, lines, ("fields", name), "takes one column: only the vignette and lists take several")
        for name, made_of in fields.items()
        if isinstance(made_of, list) and len(made_of) > 1 and name not in LISTS | {"vignette"}
    ]
    faults += [
        fault(path, lines, ("constants", name), "stands in [fields] too: keep one of them")
        for name in given.constants
        if name in fields
    ]
    faults += [
        fault(path, lines, ("fields",), f"nothing says what {name} is: every record needs it")
        for name in ("id", "vignette")
        if name not in fields
    ]
    if faults:
        raise SettingsError("\n".join(faults))
    rest = given.model_dump(exclude={"fields"})
    return CsvMapping(fields=fields, path=path, lines=lines, **rest)


def _known(loc: tuple[int | str, ...], lines: Mapping[Key, int]) -> Key:
    """The part of a fault's place that stands in the file; what pydantic adds of its own is left out."""
    key: Key = tuple(str(step) for step in loc)
    while key and key not in lines:
        key = key[:-1]
    return key or tuple(str(step) for step in loc[:2])


def _remedy(kind: str, message: str, loc: tuple[int | str, ...]) -> str:
    if kind == "missing":
        return f"{loc[-1]} is required: add it"
    of_field = len(loc) > 1 and loc[0] in ("fields", "constants", "values")
    if kind in ("extra_forbidden", "literal_error") and of_field:
        return f"is no field: there are {', '.join(FIELDS)}"
    if kind == "extra_forbidden":
        return "is not known here: see docs/readers.md"
    return f"{message}: see docs/readers.md"
