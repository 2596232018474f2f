"""The readers of files: any format gives the same vignettes, and what is broken says where and what to do."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.readers.csv_records import CsvFile, years
from producers.readers.files import InputFormat, detect, open_inputs, read_inputs
from producers.readers.json_records import read_json
from producers.readers.mapping import load_mapping
from producers.readers.ndjson import MAX_LINE
from producers.readers.record import InputError, Read
from shared.errors import SettingsError

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {"id": "a", "vignette": "A man of seventy has had chest pain."}
words = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and text
)
items = words.filter(lambda text: not set(text) & set(":;"))
prose = st.text(st.sampled_from('abc äß中,;\t|"\\{}[]\n€'), max_size=60).map(
    lambda text: f"A man of seventy has {text} pain."
)
records = st.fixed_dictionaries(
    {"id": words, "vignette": prose},
    optional={
        "context": st.fixed_dictionaries(
            {},
            optional={
                "age": st.integers(0, 120),
                "sex": st.sampled_from(["female", "male", "other"]),
                "conditions": st.lists(items, max_size=3),
                "medications": st.lists(
                    st.fixed_dictionaries({"name": items}, optional={"dose": items}), max_size=3
                ),
                "pregnant": st.booleans(),
                "egfr": st.integers(1, 120),
            },
        ),
        "identity": st.fixed_dictionaries(
            {}, optional={"names": st.lists(items, max_size=2), "birth_date": st.dates().map(str)}
        ),
    },
)


def read(path: Path, format_: InputFormat = InputFormat.auto, **how: Any) -> list[Read]:
    """All records of a file."""
    with ExitStack() as stack:
        return list(read_inputs(open_inputs(stack, [str(path)], format_, **how)))


def written(folder: Path, content: bytes | str, name: str = "input") -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_csv(rows: list[dict[str, Any]], delimiter: str) -> str:
    """Records in the columns that need no mapping."""
    stream = io.StringIO()
    columns = ["id", "vignette", "age", "sex", "conditions", "medications", "pregnant", "egfr", "names"]
    writer = csv.DictWriter(stream, [*columns, "birth_date"], delimiter=delimiter)
    writer.writeheader()
    for row in rows:
        context, identity = row.get("context", {}), row.get("identity", {})
        lists = {"conditions": context.get("conditions", []), "names": identity.get("names", [])}
        drugs = [
            ": ".join(drug[key] for key in ("name", "dose") if key in drug)
            for drug in context.get("medications", [])
        ]
        writer.writerow(
            {"id": row["id"], "vignette": row["vignette"]}
            | {name: value for name, value in {**context, **identity}.items() if name not in lists}
            | {name: "; ".join(value) for name, value in lists.items()}
            | {"medications": "; ".join(drugs)}
        )
    return stream.getvalue()


@settings(max_examples=12)
@given(st.lists(records, min_size=1, max_size=5), st.sampled_from(",;\t|"), st.booleans(), st.booleans())
def test_every_format_gives_the_same_vignettes(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    delimiter: str,
    mark: bool,
    zipped: bool,
) -> None:
    """NDJSON, JSON in three shapes and CSV with any delimiter, with a byte order mark or not, gzip or not."""
    folder = tmp_path_factory.mktemp("inputs")
    texts = {
        "a.ndjson": "\n".join(map(json.dumps, rows)),
        "lines": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "array.json": json.dumps(rows),
        "pretty": json.dumps(rows, indent=2, ensure_ascii=False),
        "wrapped": json.dumps({"sent": "today", "count": [1], "records": rows}),
        "a.csv": as_csv(rows, delimiter),
        "table": as_csv(rows, delimiter),
    }
    found = {}
    for name, text in texts.items():
        content = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
        reads = read(written(folder, gzip.compress(content) if zipped else content, name))
        assert [r.error for r in reads] == [None] * len(rows), (name, reads)
        found[name] = [r.vignette for r in reads]
    assert all(each == found["a.ndjson"] for each in found.values())


@pytest.mark.parametrize(
    ("head", "name", "format_"),
    [
        (b'{"id": 1}\n{"id": 2}', "", "ndjson"),
        (b'{"id": 1}', "x.json", "ndjson"),
        (b'{\n "id": 1}', "", "json"),
        (b'{"records": [{"id": 1}]}', "", "json"),
        (b'[{"id": 1}]', "", "json"),
        (b"[1]\n[2]\n", "", "ndjson"),
        (b'{"id", broken\n{"id": 2}', "", "ndjson"),
        (b"id,vignette\n", "", "csv"),
        (b"id\tvignette\n", "", "csv"),
        (b"{,}", "x.csv.gz", "csv"),
        (b'{"id": 1}\n{"id": 2}', "x.csv", "ndjson"),
        (b'[{"id": 1}]', "x.ndjson", "json"),
        (b'{"id": ', "x.ndjson", "ndjson"),
        (b"", "", "ndjson"),
        (b'{"resourceType": "Bundle", "entry": []}', "x.json", "fhir"),
        (b'{"resourceType": "Patient"}\n{"resourceType": "Patient"}', "x.ndjson", "fhir"),
        (b'{"id": "a", "vignette": "says \\"resourceType\\": x"}', "", "ndjson"),
    ],
)
def test_the_format_is_recognised(head: bytes, name: str, format_: str) -> None:
    """By content, and by the name where that leaves it open."""
    assert detect(head, name) == format_


def test_each_element_has_its_line_and_errors_go_on() -> None:
    """Bad elements between good ones are set aside with the line at which they begin, as they were sent."""
    text = f'[\n{json.dumps(GOOD)},\n\n {{"id": 7,\n "x": "\\"],"}}, ,\n"text", {json.dumps(GOOD)}\n]\n'
    reads = list(read_json(io.BytesIO(text.encode())))
    assert [(r.line, r.error and r.error.code) for r in reads] == [
        (2, None),
        (4, "string_type"),
        (5, "not_json"),
        (6, "not_an_object"),
        (6, None),
    ]
    assert reads[1].text == '{"id": 7,\n "x": "\\"],"}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'[{"id": "a"}', "the array does not end"),
        (b'{"records": [{"id": "a"}, {"id"', "the array does not end"),
        (b"[1] [2]", "something follows the array"),
        (b"ZEBRA", "no JSON object or array"),
    ],
)
def test_json_that_does_not_hold_together(text: bytes, said: str) -> None:
    """An error of the file, after what could be read."""
    with pytest.raises(InputError, match=said):
        list(read_json(io.BytesIO(text)))


def test_long_and_deep_elements_do_not_fill_memory() -> None:
    """10 MB in one element or one row, and deep nesting: set aside, and the rest is read."""
    long = json.dumps({**GOOD, "vignette": "x" * 10_000_000}).encode()
    good = json.dumps(GOOD).encode()
    reads = list(
        read_json(io.BytesIO(b"[" + long + b"," + b"[" * 200_000 + b"]" * 200_000 + b"," + good + b"]"))
    )
    assert [r.error and r.error.code for r in reads] == ["too_long", "too_long", None]
    assert max(len(r.text) for r in reads) == MAX_LINE
    text = b"A man of seventy has had chest pain.\n"
    rows = b'id,vignette\na,"not closed\n' + b"".join(b"%d," % k + text for k in range(9_000))
    reads = list(CsvFile(io.BytesIO(rows)).records())
    assert (reads[0].error and reads[0].error.code, reads[1].error) == ("too_long", None)
    assert reads[-1].vignette is not None
    assert reads[-1].vignette.id == "8999"


def test_bad_rows_are_set_aside() -> None:
    """Each kind, with the line at which the row begins; what is right between them is read."""
    rows = (
        b'id,vignette,age\n1,"two\nlines",70\n2,x\n3,"bad " quote",\n'
        b"4,A man of seventy in pain.\xff,70\n5,A man of seventy\x00 in pain.,70\n"
        b"6,A man of seventy in pain.,old\n\n,,\n7,A man of seventy in pain.,\n"
    )
    reads = list(CsvFile(io.BytesIO(rows)).records())
    assert [(r.line, r.error and (r.error.code, r.error.path)) for r in reads] == [
        (2, ("string_too_short", "vignette")),
        (4, ("columns", "")),
        (5, ("not_csv", "")),
        (6, ("not_utf8", "")),
        (7, ("nul_character", "")),
        (8, ("float_parsing", "context.age")),
        (11, None),
    ]
    assert reads[0].text == '1,"two\nlines",70'


MAPPING = """
delimiter = ";"
encoding = "cp1252"
list_separator = "|"
date_format = "%d.%m.%Y"
decimal = ","

[fields]
id = "PatNr"
vignette = ["Anamnese", {column = "Befund", label = "Findings"}]
age = {born = "Geb", on = "Datum"}
sex = "G"
egfr = "GFR"
allergies = "Allergien"
medications = {name = "Mittel", dose = "Dosis"}
names = ["Nachname", "Vorname"]
birth_date = "Geb"
date = "Datum"

[constants]
kind = "medication/cardiology"

[values.sex]
W = "female"

[values.allergies]
keine = "none known"
"""
EXPORT = (
    "PatNr;Nachname;Vorname;Geb;Datum;G;GFR;Allergien;Mittel;Dosis;Anamnese;Befund;Zimmer\n"
    "7;Müller;Eva;02.03.1950;01.03.2020;W;28,5;keine;ASS|Marcumar;100 mg|nach Plan;"
    "Seit gestern Brustschmerz.;o. B.;12\n"
)


def test_a_mapping_says_what_the_columns_are(tmp_path: Path) -> None:
    """Text joined from columns, age from dates, lists, translations, constants, charset and decimals."""
    mapping = load_mapping(written(tmp_path, MAPPING, "m.toml"))
    [only] = read(written(tmp_path, EXPORT.encode("cp1252"), "x.csv"), mapping=mapping)
    assert only.vignette is not None
    assert only.vignette.model_dump(mode="json", exclude_defaults=True) == {
        "id": "7",
        "vignette": "Seit gestern Brustschmerz.\nFindings: o. B.",
        "kind": "medication/cardiology",
        "context": {
            "age": 69.0,
            "sex": "female",
            "egfr": 28.5,
            "allergies": ["none known"],
            "medications": [{"name": "ASS", "dose": "100 mg"}, {"name": "Marcumar", "dose": "nach Plan"}],
        },
        "identity": {"names": ["Müller", "Eva"], "birth_date": "1950-03-02", "date": "2020-03-01"},
    }


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            'id = "PatNr"',
            'id = "PatNo"',
            r"m.toml:9: fields.id: there is no column 'PatNo' \(did you mean 'PatNr'",
        ),
        ('sex = "G"', 'gender = "G"', "m.toml:12: fields.gender: is no field: there are id, vignette"),
        ('id = "PatNr"', "", "nothing says what id is"),
        ('kind = "m', 'id = "m', "constants.id: stands in .fields. too"),
        ('egfr = "GFR"', 'egfr = ["GFR", "G"]', "fields.egfr: takes one column"),
        ('encoding = "cp1252"', 'encoding = "utf-16"', "m.toml:3: encoding: Input should be 'utf-8'"),
        ("[fields]", "[fields", "m.toml:8: .*no valid TOML"),
    ],
)
def test_a_wrong_mapping_is_refused_with_its_line(tmp_path: Path, before: str, after: str, said: str) -> None:
    """Before anything is read: the mapping's line, and what columns or fields there are."""
    path = written(tmp_path, MAPPING.replace(before, after), "m.toml")
    with pytest.raises((SettingsError, InputError), match=said):
        read(written(tmp_path, EXPORT.encode("cp1252"), "x.csv"), mapping=load_mapping(path))


def test_a_header_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Without a mapping: what is missing, what is unknown, what there may be."""
    with pytest.raises(InputError, match=r"x.csv, line 1: no column id; unknown column 'PatNr': .*--mapping"):
        read(written(tmp_path, "PatNr,vignette\n1,x\n", "x.csv"))


def test_age_is_completed_years() -> None:
    """On the birthday a year more; below two in parts."""
    days = [dt.date.fromisoformat(day) for day in ("2000-02-29", "2020-02-28", "2020-02-29")]
    assert [years(days[0], day) for day in days] == [0, 19, 20]


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.csv.gz", "a.json.gz"])
def test_a_cut_gzip_is_an_error_after_what_could_be_read(tmp_path: Path, name: str) -> None:
    """File, last line, remedy; the records before it have been read."""
    rows = [{"id": str(k), "vignette": f"A man of seventy has had chest pain: {k**9}."} for k in range(3_000)]
    text = as_csv(rows, ",") if "csv" in name else json.dumps(rows) if name[2:] == "json.gz" else ""
    text = text or "\n".join(map(json.dumps, rows))
    path = written(tmp_path, gzip.compress(text.encode())[:-8_000], name)
    reads: list[Read] = []
    with ExitStack() as stack:
        inputs = open_inputs(stack, [str(path)])
        with pytest.raises(InputError, match=rf"{name}, line \d+: .* cut short after this: fetch"):
            reads.extend(read_inputs(inputs))
    assert len(reads) > 100
    assert all(one.vignette for one in reads)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "save the sheet as CSV"),
        (json.dumps(GOOD).encode("utf-16"), "UTF-16: save it as UTF-8"),
        (b"\x1f\x8bnot gzip", "gzip data is broken"),
    ],
)
def test_what_is_not_read_says_what_to_do(tmp_path: Path, content: bytes, said: str) -> None:
    """Archives, other charsets, broken gzip."""
    with pytest.raises(InputError, match=said):
        read(written(tmp_path, content))


@pytest.mark.parametrize(
    "text", ["a,Erika Mustermann,HIV positive\nb,Max Muster,gout\n", "Erika Mustermann\n"]
)
def test_a_record_in_the_headers_place_is_not_quoted(tmp_path: Path, text: str) -> None:
    """What is printed may end in a log."""
    mapping = written(tmp_path, '[fields]\nid = "Case"\nvignette = "Note"\n', "m.toml")
    for named in (None, load_mapping(mapping)):
        with ExitStack() as stack, pytest.raises(InputError, match="header row missing") as refused:
            list(read_inputs(open_inputs(stack, [str(written(tmp_path, text, "x.csv"))], mapping=named)))
        assert "Erika" not in str(refused.value)


def test_a_mapping_makes_no_csv_of_ndjson(tmp_path: Path) -> None:
    """So `submit` can say that it is of no use."""
    mapping = load_mapping(written(tmp_path, '[fields]\nid = "Case"\nvignette = "Note"\n', "m.toml"))
    with ExitStack() as stack:
        (made,) = open_inputs(stack, [str(written(tmp_path, json.dumps(GOOD), "x"))], mapping=mapping)
    assert made.format == "ndjson"


@pytest.mark.parametrize("form", ["%q", "%d.%m.%d", "Y-m-d", ""])
def test_a_form_that_no_date_has_is_refused(tmp_path: Path, form: str) -> None:
    """With the mapping, not with each row."""
    text = f'date_format = "{form}"\n[fields]\nid = "Case"\nvignette = "Note"\n'
    with pytest.raises(SettingsError, match=r"m.toml:1.*form of a date"):
        load_mapping(written(tmp_path, text, "m.toml"))


def test_a_fault_names_the_column(tmp_path: Path) -> None:
    """Which of the two an age is made of; the cell itself is not repeated."""
    fields = 'id = "Case"\nvignette = "Note"\nage = { born = "Born", on = "Seen" }\n'
    mapping = load_mapping(written(tmp_path, f'date_format = "%d.%m.%Y"\n[fields]\n{fields}', "m.toml"))
    rows = "Case,Note,Born,Seen\na,A man of seventy has chest pain.,1950-01-01,01.02.2024\n"
    (found,) = read(written(tmp_path, rows, "x.csv"), mapping=mapping)
    assert found.error is not None
    assert found.error.reason == "column 'Born' holds no date of the form %d.%m.%Y"
