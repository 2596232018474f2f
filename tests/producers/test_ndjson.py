"""The NDJSON reader: each bad line is set aside with line, field and reason, and quotes nothing."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers.readers.ndjson import MAX_LINE, Read, lines_of, read_ndjson

GOOD: dict[str, Any] = {"id": "case-1", "vignette": "A 67-year-old man has had chest pain for two days."}
PLANTED = "ZEBRA"


def line(**changes: Any) -> bytes:
    """A good record with these changes, as a line."""
    return json.dumps({**GOOD, **changes}).encode()


def only(raw: bytes) -> Read:
    """The one record of a one-line input."""
    (read,) = read_ndjson(lines_of(io.BytesIO(raw)))
    return read


BAD = {
    "cut off": (b'{"id": "ZEBRA", "vign', "not_json", "", "column"),
    "no JSON": (b"ZEBRA", "not_json", "", "column 1"),
    "two records": (line() + b" " + line(), "not_json", "", "Extra data"),
    "a list": (b'["ZEBRA"]', "not_an_object", "", "one JSON object"),
    "a text": (b'"ZEBRA"', "not_an_object", "", "one JSON object"),
    "null": (b"null", "not_an_object", "", "one JSON object"),
    "NaN": (line(context={"age": float("nan")}), "not_json", "", "NaN and Infinity"),
    "Infinity": (line(context={"egfr": float("-inf")}), "not_json", "", "NaN and Infinity"),
    "many digits": (b'{"id": ' + b"7" * 5_000 + b"}", "not_json", "", "digits"),
    "deep": (b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not_json", "", "nested too deeply"),
    "bad bytes": (b'{"id": "ZEBRA \xff"}', "not_utf8", "", "byte 15 is not UTF-8"),
    "UTF-16": (json.dumps(GOOD).encode("utf-16"), "not_utf8", "", "save the file as UTF-8"),
    "NUL byte": (b'{"id": "ZEBRA\x00"}', "nul_character", "", "remove it"),
    "NUL escape": (b'{"id": "ZEBRA\\u0000"}', "nul_character", "", "remove it"),
    "NUL escape behind a backslash": (rb'{"id": "ZEBRA\\\u0000"}', "nul_character", "", "remove it"),
    "huge": (line(vignette="ZEBRA" * MAX_LINE), "too_long", "", str(MAX_LINE)),
    "huge and empty": (b" " * (MAX_LINE + 1), "too_long", "", str(MAX_LINE)),
    "twice the same field": (b'{"id": "a", "id": "ZEBRA"}', "duplicate_field", "", "twice"),
    "twice, deeper": (b'{"context": {"ZEBRA": 1, "ZEBRA": 2}}', "duplicate_field", "", "twice"),
    "no id": (json.dumps({"vignette": GOOD["vignette"]}).encode(), "missing", "id", "required"),
    "two faults": (b'{"kind": "ZEBRA"}', "missing", "id", "(and 2 more: vignette: Field required; kind: "),
    "empty id": (line(id=" "), "string_too_short", "id", "at least 1"),
    "id is a number": (line(id=17), "string_type", "id", "valid string"),
    "half a surrogate": (b'{"id": "\\ud800 ZEBRA", "vignette": "x"}', "string_unicode", "id", "unicode"),
    "short vignette": (line(vignette="ZEBRA"), "string_too_short", "vignette", "at least 20"),
    "long vignette": (line(vignette="ZEBRA " * 5_000), "string_too_long", "vignette", "at most 20000"),
    "unknown kind": (line(kind="medication/ZEBRA"), "literal_error", "kind", "medication/cardiology"),
    "age is a text": (line(context={"age": "ZEBRA"}), "float_parsing", "context.age", "valid number"),
    "age too high": (line(context={"age": 670}), "less_than_equal", "context.age", "130"),
    "infinite age": (
        line(context={"age": 0}).replace(b"0}", b"1e999}"),
        "less_than_equal",
        "context.age",
        "",
    ),
    "context is a list": (line(context=["ZEBRA"]), "model_type", "context", "dictionary"),
    "in a list": (
        line(context={"medications": [{"name": "a"}, {"name": "ZEBRA" * 99}]}),
        "string_too_long",
        "context.medications.1.name",
        "at most 300",
    ),
    "unknown field": (line(ZEBRA="ZEBRA"), "extra_forbidden", "", "not known"),
    "unknown field, deeper": (
        line(context={"medications": [{"name": "a", "ZEBRA": 1}]}),
        "extra_forbidden",
        "context.medications.0",
        "examples/vignettes.ndjson",
    ),
    "gold without a choice": (
        line(gold={"required": [{"any_of": []}]}),
        "too_short",
        "gold.required.0.any_of",
        "at least 1",
    ),
    "gold that no list can meet": (
        line(
            gold={"required": [{"any_of": ["aspirin"]}, {"any_of": ["Lipitor"]}], "never": ["atorvastatin"]}
        ),
        "never_right",
        "gold.required.1",
        "no list could be right",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_each_kind_of_bad_line(kind: str) -> None:
    """Code, field and reason; the text is kept for setting aside, and shows in no message or repr."""
    raw, code, path, reason = BAD[kind]
    read = only(raw)
    assert read.vignette is None
    assert read.error is not None
    assert (read.error.code, read.error.path, read.error.line) == (code, path, 1)
    assert reason in read.error.reason
    assert len(read.error.reason) <= 300
    assert len(code) <= 60
    assert read.text == raw[:MAX_LINE].decode(errors="replace").strip()
    shown = f"{read!r} {read.error} {read.error!r} {vars(read.error)}"
    assert PLANTED not in shown


def test_the_rest_goes_on() -> None:
    """Bad lines between good ones keep nothing back, and lines are counted as an editor counts them."""
    raw = b"\n".join([line(), b"", b"{", b"  \t ", line(id="case-2"), b"\xff", b"", line(id="case-3")])
    found = [(r.line, r.vignette.id if r.vignette else None) for r in read_ndjson(lines_of(io.BytesIO(raw)))]
    assert found == [(1, "case-1"), (3, None), (5, "case-2"), (6, None), (8, "case-3")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [True, False])
def test_marks_and_line_ends_are_no_errors(end: bytes, mark: bytes, last: bool) -> None:
    """A byte order mark, Windows' line ends, and a last line with or without its end."""
    raw = mark + end.join([line(), line(id="case-2")]) + (end if last else b"")
    reads = list(read_ndjson(lines_of(io.BytesIO(raw))))
    assert [r.vignette.id for r in reads if r.vignette] == ["case-1", "case-2"]
    assert len(reads) == 2


@pytest.mark.parametrize("raw", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n"])
def test_nothing_is_no_record(raw: bytes) -> None:
    """An empty file has no records and no errors."""
    assert list(read_ndjson(lines_of(io.BytesIO(raw)))) == []


def test_the_longest_line_is_read_and_one_byte_more_is_not() -> None:
    """The bound is exact, whatever the line's end, and what follows is read as the next line."""
    padding = MAX_LINE - len(line())
    for end in (b"\n", b"\r\n"):
        fits, too_long = line() + b" " * padding, line() + b" " * (padding + 1)
        reads = list(read_ndjson(lines_of(io.BytesIO(end.join([fits, too_long, line(id="next"), b""])))))
        assert [r.error.code if r.error else None for r in reads] == [None, "too_long", None]
        assert [r.line for r in reads] == [1, 2, 3]


def test_memory_is_bounded_by_the_longest_line() -> None:
    """A file that is one endless line is never held whole."""
    pieces = list(lines_of(io.BytesIO(b"x" * 20_000_000 + b"\n" + line())))
    assert [len(piece) for piece in pieces] == [MAX_LINE + 3, len(line())]


def test_reads_lazily() -> None:
    """The first record is there before the second line is asked for."""

    def lines() -> Any:
        yield line()
        raise AssertionError("read too far")

    assert next(read_ndjson(lines())).vignette is not None


def test_everything_known_arrives() -> None:
    """Structured context and gold come through as they were sent."""
    context = {
        "age": 67,
        "sex": "male",
        "specialty": "cardiology",
        "conditions": ["heart failure"],
        "allergies": ["penicillin"],
        "medications": [{"name": "warfarin", "dose": "5 mg"}],
        "pregnant": False,
        "egfr": 28.5,
    }
    gold = {"required": [{"any_of": ["a", "b"]}], "acceptable": ["c"], "never": ["d"]}
    vignette = only(line(kind="medication/cardiology", context=context, gold=gold)).vignette
    assert vignette is not None
    assert vignette.gold is not None
    assert vignette.gold.model_dump() == gold
    assert vignette.context.model_dump() == context
    assert vignette.kind == "medication/cardiology"


def test_a_backslash_before_u0000_is_no_nul() -> None:
    """An escaped backslash followed by the letters is text."""
    vignette = only(line(vignette=r"A man reports pain; the note says \u0000 here.")).vignette
    assert vignette is not None
    assert r"\u0000" in vignette.vignette


planted = st.text(max_size=8).map(lambda text: f"{PLANTED}{text}")
values = st.recursive(
    planted | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(planted, inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(["id", "vignette", "kind", "context", "gold", "age", "medications", "required"])


@given(
    st.dictionaries(fields | planted, values | st.dictionaries(fields | planted, values, max_size=3)),
    st.integers(0, 400),
    st.booleans(),
)
@example({"id": PLANTED, "vignette": PLANTED, f"{PLANTED}\ud800": 1}, 0, False)
@example({"gold": {"required": [{PLANTED: PLANTED}]}}, 0, False)
def test_nothing_of_the_input_is_quoted(record: dict[str, Any], cut: int, cutting: bool) -> None:
    """Whatever stands in values or field names, whole or cut, no message and no repr repeats it."""
    raw = json.dumps({**GOOD, **record} if cut % 2 else record).encode()
    reads = list(read_ndjson([raw[:cut] if cutting else raw]))
    for read in reads:
        assert PLANTED not in repr(read)
        if read.error is not None:
            assert PLANTED not in f"{read.error} {read.error!r} {vars(read.error)}"
            assert read.error.__cause__ is None
            assert read.error.code.replace("_", "").isalnum()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_set_aside(raw: bytes) -> None:
    """No input whatever raises."""
    for read in read_ndjson(lines_of(io.BytesIO(raw))):
        assert (read.vignette is None) == (read.error is not None)
