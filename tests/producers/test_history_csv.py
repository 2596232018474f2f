"""The reader of history files: good rows as they are, bad ones with line, column and reason."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.readers.history_csv import BadRow, HistoryFileError, file_digest, read_history
from shared.history import COLUMNS, HistoryRow, mixture, question_of
from tests.shared_data import NOT_HERE, SHARED_DATA

DATA = SHARED_DATA / "histories"
public = pytest.mark.skipif(not DATA.is_dir(), reason=NOT_HERE)

GOOD = {
    "trial": "Trial 1",
    "model": "o1-mini",
    "task": "classify",
    "latency": "40.0",
    "temperature": "1.0",
    "id": "Item_1",
    "result": "a\nb, 'c'",
    "quality": "4.5",
    "generation_accuracy": "1.0",
    "variance": "2.8e-07",
    "review_accuracy": "0.5",
    "accuracy": "0.875",
    "elapsed": "7m 19s",
    "strategy": "RANDOM",
    "created": "2025-07-11 09:43:21",
}


def text_of(*rows: dict[str, str], columns: tuple[str, ...] = COLUMNS, end: str = "\n") -> bytes:
    """A CSV of these rows."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode(errors="surrogateescape")


def read(tmp_path: Path, content: bytes) -> list[HistoryRow | BadRow]:
    """All that a file of this content holds."""
    path = tmp_path / "h.csv"
    path.write_bytes(content)
    return list(read_history(path))


def test_a_row_in_every_dress(tmp_path: Path) -> None:
    """BOM, CRLF, gzip by content, another order of columns, a further column: the same typed row."""
    expected = HistoryRow(
        trial="Trial 1",
        model="o1-mini",
        task="classify",
        latency_s=40.0,
        temperature=1.0,
        item="Item_1",
        result="a\nb, 'c'",
        quality=4.5,
        generation_accuracy=1.0,
        variance=2.8e-07,
        review_accuracy=0.5,
        accuracy=0.875,
        elapsed="7m 19s",
        strategy="RANDOM",
        created=datetime(2025, 7, 11, 9, 43, 21, tzinfo=UTC),
    )
    plain = text_of(GOOD)
    dresses = (
        plain,
        b"\xef\xbb\xbf" + plain,
        text_of(GOOD, end="\r\n"),
        gzip.compress(plain),
        text_of({**GOOD, "note": "x"}, columns=("note", *reversed(COLUMNS))),
    )
    for dress in dresses:
        assert read(tmp_path, dress) == [expected]
    assert "a\nb" not in repr(expected)


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        ("quality", "10.5", "0 to 10"),
        ("quality", "secret", "not a number"),
        ("accuracy", "1.01", "0 to 1"),
        ("review_accuracy", "nan", "finite"),
        ("variance", "inf", "finite"),
        ("latency", "-1", "below 0"),
        ("latency", "1e308", "0 to 10000000"),
        ("temperature", "101", "0 to 100"),
        ("variance", "1e5", "0 to 10000"),
        ("created", "yesterday", "no time"),
        ("strategy", "2025-07-11 12:12:55", "missing"),
        ("strategy", "", "empty"),
        ("model", " ", "empty"),
        ("model", "a\x00b", "NUL"),
        ("task", "t" * 301, "longer than 300"),
        ("trial", "\udce9", "UTF-8"),
    ],
)
def test_a_bad_field_is_set_aside(tmp_path: Path, column: str, value: str, word: str) -> None:
    """With the line where its record begins, its column and the reason, never the value; the rest goes on."""
    found = read(tmp_path, text_of(GOOD, {**GOOD, column: value}, GOOD))
    assert [type(row) for row in found] == [HistoryRow, BadRow, HistoryRow]
    bad = found[1]
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.column) == (4, column)  # each good record takes two lines
    assert word in bad.reason
    assert "secret" not in str(bad)
    assert "yesterday" not in str(bad)


def test_empty_is_unknown_and_short_rows_are_bad(tmp_path: Path) -> None:
    """An empty number or time is None; a row with a field too few is set aside; blank lines are nothing."""
    empty = dict.fromkeys(("latency", "quality", "generation_accuracy", "created", "elapsed"), "")
    found = read(tmp_path, text_of({**GOOD, **empty}) + b"\nTrial 2,o1-mini\n")
    row, bad = found
    assert isinstance(row, HistoryRow)
    assert (row.latency_s, row.quality, row.generation_accuracy, row.created, row.elapsed) == (None,) * 5
    assert bad == BadRow(5, "", "2 fields where the first line has 15")


@pytest.mark.parametrize("result", ["plain", GOOD["result"]])
def test_an_open_quote_costs_its_own_line(tmp_path: Path, result: str) -> None:
    """Reading goes on with the next line, whether the rest has quotes or not; all bytes are told once."""
    rows = [{**GOOD, "result": result, "trial": f"Trial {number}"} for number in range(300)]
    header, rest = text_of(*rows).split(b"\n", 1)
    broken = text_of({**GOOD, "result": "open"}).split(b"\n")[1].replace(b"open", b'"open')
    path = tmp_path / "h.csv"
    path.write_bytes(b"\n".join((header, broken, rest)))
    told: list[int] = []
    bad, *good = read_history(path, progress=told.append)
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.column) == (2, "")
    assert "quotes do not match" in bad.reason
    assert [row.trial for row in good if isinstance(row, HistoryRow)] == [row["trial"] for row in rows]
    assert sum(told) == path.stat().st_size
    path.write_bytes(path.read_bytes() + broken)
    *_, last = read_history(path)
    assert isinstance(last, BadRow)
    assert last.line == 3 + 300 * (1 + result.count("\n")), "lines that came again are counted once"


def test_a_row_that_takes_lines_along_says_so(tmp_path: Path) -> None:
    """A quote that is closed at a wrong place, by chance as CSV asks for: up to which line is told."""
    found = read(tmp_path, text_of(GOOD) + b'Trial 2,"o1-mini\nTrial 3",o1-mini\n')
    assert found[1:] == [
        BadRow(4, "", "3 fields where the first line has 15, up to line 5: is a quote left open?")
    ]


def test_files_that_are_no_history(tmp_path: Path) -> None:
    """Missing columns by name, broken gzip, no file: one sentence each."""
    without = tuple(name for name in COLUMNS if name not in ("quality", "strategy"))
    with pytest.raises(HistoryFileError, match="no column quality, strategy;"):
        read(tmp_path, text_of({k: GOOD[k] for k in without}, columns=without))
    with pytest.raises(HistoryFileError, match="no column trial"):
        read(tmp_path, b"")
    with pytest.raises(HistoryFileError, match="gzip data is broken"):
        read(tmp_path, gzip.compress(text_of(*[GOOD] * 99))[:-20])
    with pytest.raises(HistoryFileError, match="cannot be read: No such file"):
        list(read_history(tmp_path / "none.csv"))


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    """The same whether compressed or not, with the size uncompressed."""
    (tmp_path / "a").write_bytes(text_of(GOOD))
    (tmp_path / "b").write_bytes(gzip.compress(text_of(GOOD)))
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b")
    assert file_digest(tmp_path / "a")[1] == len(text_of(GOOD))


@settings(max_examples=60, deadline=None)
@given(part=st.one_of(st.none(), st.floats(0, 1)), review=st.one_of(st.none(), st.floats(0, 1)))
def test_mixture(part: float | None, review: float | None) -> None:
    """The truth weighs three quarters, quality in its place one; an unknown part leaves the other alone."""
    quality = None if part is None else 10 * part
    known, guessed = mixture(part, review, 3.0), mixture(None, review, quality)
    if part is None:
        assert guessed == review
    elif review is None:
        assert known == part
        assert guessed == pytest.approx(part)
    else:
        assert known == pytest.approx(0.75 * part + 0.25 * review)
        assert guessed == pytest.approx(0.25 * part + 0.75 * review)


def test_questions_are_told_from_the_text() -> None:
    """Quotes, cases and abbreviations do not part a question; other words do; no words are no question."""
    same = (
        "' Jim Dunnam has not lived here for years. ' is labeled as ' false '.",
        'The statement "Jim Dunnam has not lived here" is labeled as mostly-true.',
        "\\'Jim Dunnam HAS NOT lived here\\' is labeled as \\'true\\'.",
    )
    assert len({question_of(text) for text in same}) == 1
    assert question_of("Jim Beam has not lived here is labeled as true") != question_of(same[0])
    programs = (
        "```python\ndef kheapsort(arr, k):",
        "def k_heapsort(a, k):\n",
        "\ndef heapq.heapsort(arr, k):",
    )
    assert len({question_of(text) for text in programs}) == 1
    assert question_of("def gcd(a, b):") != question_of(programs[0])
    assert question_of("") is question_of("The statement is labeled as false.") is None


@public
@pytest.mark.parametrize(
    ("name", "rows", "bad", "questions"),
    [
        ("runs.csv.gz", 8164, [181, 199, 202, 224, 278, 328], 10),
        ("runs2.csv.gz", 7486, [], 11),  # ten programs, and an eleventh in one trial
    ],
)
def test_public_histories(name: str, rows: int, bad: list[int], questions: int) -> None:
    """Six rows without a strategy are set aside; a trial's most frequent question is one of so many."""
    aside, good, asked = [], 0, defaultdict[str, Counter[str | None]](Counter)
    for row in read_history(DATA / name):
        if isinstance(row, BadRow):
            aside.append(row)
        else:
            good += 1
            asked[row.trial][question_of(row.result)] += 1
    assert (good, [row.line for row in aside]) == (rows, bad)
    assert {row.column for row in aside} <= {"strategy"}
    by_trial = Counter(found.most_common(1)[0][0] for found in asked.values())
    assert len(by_trial) == questions
    assert sorted(by_trial.values())[-10] >= 79
    assert None not in by_trial
