"""Receiving in chunks: a repeat goes on after what is stored, nothing begins before all is there."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from db.engine import transaction
from db.queries import consultations, dispatching, receiving
from producers import batch
from producers.intake import Abandoned, IdempotencyConflict
from producers.readers.csv_records import CsvFile
from producers.readers.fhir import read_fhir
from producers.readers.mapping import parse_mapping
from producers.readers.ndjson import read_ndjson
from producers.readers.record import Read
from tests.producers.conftest import Site, record
from tests.producers.readers.fhir.made import PATIENT, bundle, condition

LINES = [record(f"case-{k}") if k % 5 else b"{" for k in range(25)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of ten, so that few records make several."""
    monkeypatch.setattr("producers.intake.CHUNK", 10)
    monkeypatch.setattr(batch, "CHUNK", 10)


def broken_after(lines: list[bytes], n: int) -> Iterator[Read]:
    """The records of the first n lines, then no more."""
    yield from read_ndjson(lines[:n])
    raise OSError("the line was cut")


def interrupted(site: Site, n: int = 23, **order: Any) -> None:
    """Two chunks are committed, then the input breaks off."""
    with pytest.raises(OSError, match="cut"):
        site.receive(broken_after(LINES, n), **{"idempotency_key": "monday", **order})


def state(site: Site) -> tuple[Any, ...]:
    """The one submission's state and counts."""
    return site.ask("SELECT state, records, set_aside FROM submissions")[0]


def waiting(site: Site) -> int:
    """How many a dispatcher could take."""
    with transaction(site.url) as session:
        return len(dispatching.next_waiting(session, most=99, source_window=99, ageing_s=60))


def test_a_repeat_goes_on_after_the_last_chunk(site: Site) -> None:
    """Wherever it breaks off, the repeat ends as a clean run does: same seeds and seats, nothing twice."""
    interrupted(site)
    assert state(site) == ("receiving", 20, 4)
    assert waiting(site) == 0
    receipt = site.receive(LINES, idempotency_key="monday", seed=99)
    assert (receipt.accepted, receipt.set_aside, receipt.known) == (20, 5, 20)
    assert (receipt.complete, receipt.repeated) == (True, False)
    assert [(e.line, e.ordinal) for e in receipt.errors] == [(k + 1, k) for k in range(0, 25, 5)]
    assert state(site) == ("open", 25, 5)
    assert waiting(site) == 20
    drawn = (
        "SELECT r.ordinal, c.seed, array_agg(v.name ORDER BY t.seat) FROM consultations c "
        "JOIN records r ON r.id = c.record_id JOIN seats t ON t.consultation_id = c.id "
        "JOIN model_versions v ON v.id = t.model_version_id WHERE c.submission_id = %s "
        "GROUP BY 1, 2 ORDER BY 1"
    )
    site.source("ward", {})
    clean = site.receive(LINES, source="ward")
    assert site.ask(drawn, receipt.submission_id) == site.ask(drawn, clean.submission_id)


def test_long_records_end_a_chunk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few of them are held at once; a repeat cuts them in the same places, and goes on."""
    monkeypatch.setattr("producers.intake.CHUNK_SIZE", 3_000)
    long = b'{"' + b"x" * 1_000
    lines = [record("a"), *[long] * 8, record("b")]
    with pytest.raises(OSError, match="cut"):
        site.receive(broken_after(lines, 5), idempotency_key="monday")
    assert site.ask("SELECT ordinal FROM submission_chunks ORDER BY 1") == [(0,)]
    receipt = site.receive(lines, idempotency_key="monday")
    assert (receipt.accepted, receipt.set_aside, receipt.known, receipt.repeated) == (2, 8, 4, False)
    assert site.ask("SELECT ordinal FROM submission_chunks ORDER BY 1") == [(0,), (4,), (7,)]
    assert site.receive(lines, idempotency_key="monday").repeated


def fhir(body: bytes, day: dt.date, per: Literal["patient", "encounter"] = "patient") -> Iterator[Read]:
    """The records of a FHIR file, read on this day."""
    return read_fhir([("bundle", io.BytesIO(body))], today=day, per=per)


def test_what_is_composed_another_day_is_the_same(site: Site) -> None:
    """A record without a date tells the day on which it is read; another body is another still."""
    monday, tuesday = dt.date(2026, 3, 2), dt.date(2026, 3, 3)
    encounter = {
        "resourceType": "Encounter",
        "id": "p1",
        "subject": {"reference": "Patient/p1"},
        "period": {"start": "2025-06-01"},
        "reasonCode": [{"text": "Gout"}],
    }
    undated = condition("Gout", onsetDateTime=None)
    body = json.dumps(bundle({**PATIENT, "birthDate": None}, undated)).encode()
    (first,), (second,) = (list(fhir(body, day)) for day in (monday, tuesday))
    assert first.vignette != second.vignette
    site.receive(iter([first]), idempotency_key="undated")
    assert site.receive(iter([second]), idempotency_key="undated").repeated
    with pytest.raises(IdempotencyConflict, match="differs at line 1 "):
        site.receive(fhir(body.replace(b"Gout", b"Acne"), monday), idempotency_key="undated")
    body = json.dumps(bundle(PATIENT, encounter)).encode()
    site.receive(fhir(body, monday), idempotency_key="either")
    with pytest.raises(IdempotencyConflict, match="differs at line 1 "):
        site.receive(fhir(body, monday, "encounter"), idempotency_key="either")


def test_the_same_rows_read_otherwise_are_another_body(site: Site) -> None:
    """CSV: under a corrected header or mapping; a mapping that lies elsewhere is the same."""

    def read(header: bytes, mapping: str | None = None, path: str = "m.toml") -> Iterator[Read]:
        row = b"a,A man of seventy has chest pain.,asthma,gout\n"
        found = mapping and parse_mapping(mapping, Path(path))
        return CsvFile(io.BytesIO(header + b"\n" + row), found or None).records()

    site.receive(read(b"id,vignette,conditions,allergies"), idempotency_key="header")
    assert site.receive(read(b"id,vignette,conditions,allergies"), idempotency_key="header").repeated
    with pytest.raises(IdempotencyConflict, match="differs at line 2 "):
        site.receive(read(b"id,vignette,allergies,conditions"), idempotency_key="header")
    mapped = '[fields]\nid = "i"\nvignette = "v"\nconditions = "c"\n'
    site.receive(read(b"i,v,c,x", mapped), idempotency_key="mapping", purpose="training")
    again = read(b"i,v,c,x", f"\n{mapped}", "other.toml")
    assert site.receive(again, idempotency_key="mapping", purpose="training").repeated
    wrong = mapped.replace("conditions", "allergies")
    with pytest.raises(IdempotencyConflict, match="differs at line 2 "):
        site.receive(read(b"i,v,c,x", wrong), idempotency_key="mapping", purpose="training")


def test_a_complete_one_is_repeated_as_it_was(site: Site) -> None:
    """The first answer, errors and all; the records are told again for the quarantine file."""
    first = site.receive(LINES, idempotency_key="monday")
    before = site.counts()
    told: list[tuple[str, int | None]] = []
    again = site.receive(LINES, told=told, idempotency_key="monday")
    assert (again.repeated, again.known) == (True, 25)
    assert [vars(e) for e in again.errors] == [vars(e) for e in first.errors]
    assert told == [("{", k + 1) for k in range(0, 25, 5)]
    assert site.counts() == before


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines[:12], record("other"), *lines[13:]], "differs at line 11"),
        (lambda lines: lines[:9], "differs at line 1 "),
        (lambda lines: lines[:10], "longer body"),
        (lambda lines: [b"", *lines], "differs at line 2"),
    ],
)
def test_another_body_is_refused_with_its_line(site: Site, whole: bool, change: Any, said: str) -> None:
    """Changed, shorter or moved: a conflict that names where, and nothing is stored."""
    if whole:
        site.receive(LINES, idempotency_key="monday")
    else:
        interrupted(site)
    before = site.counts()
    with pytest.raises(IdempotencyConflict, match=said):
        site.receive(change(LINES), idempotency_key="monday")
    assert site.counts() == before


def test_a_longer_body_is_refused_where_the_first_was_whole(site: Site) -> None:
    """What is complete takes nothing more."""
    site.receive(LINES[:10], idempotency_key="monday")
    with pytest.raises(IdempotencyConflict, match="differs at line 11"):
        site.receive(LINES, idempotency_key="monday")


def test_other_options_are_refused_while_it_is_received(site: Site) -> None:
    """Half of a batch cannot be urgent."""
    interrupted(site)
    with pytest.raises(IdempotencyConflict, match="another priority, n: repeat its command with"):
        site.receive(LINES, idempotency_key="monday", priority="urgent", n=4)


def test_a_strict_batch_is_whole_or_nothing(site: Site) -> None:
    """Broken off after two chunks, nothing of it is there; the repeat is a new batch."""
    good = [record(f"case-{k}") for k in range(25)]
    site.receive([record("first")])  # what all sources share is there
    before = site.counts()
    with pytest.raises(OSError, match="cut"):
        site.receive(broken_after(good, 23), idempotency_key="monday", strict=True)
    assert site.counts() == before
    assert site.receive(good, idempotency_key="monday", strict=True).known == 0


def test_strict_is_another_option_where_it_matters(site: Site) -> None:
    """The same key again, but strict: a conflict where a record is bad, the same where none is."""
    site.receive(LINES, idempotency_key="monday")
    site.receive([record("good")], idempotency_key="tuesday")
    before = site.counts()
    with pytest.raises(IdempotencyConflict, match="without strict, with 5 bad records"):
        site.receive(LINES, idempotency_key="monday", strict=True)
    assert site.receive([record("good")], idempotency_key="tuesday", strict=True).repeated
    assert site.counts() == before


def test_nobody_waits_for_anothers_strict_batch(site: Site) -> None:
    """Of the first two on a new site: prompts and versions are committed while one is still sent."""
    site.source("ward", {})

    def slowly() -> Iterator[Read]:
        yield from read_ndjson([record(f"case-{k}") for k in range(12)])
        assert site.ask("SELECT count(*) FROM submissions") == [(0,)]
        assert site.receive([record("other")], source="ward").accepted == 1
        yield from read_ndjson([record("last")])

    assert site.receive(slowly(), strict=True).accepted == 13


def test_an_abandoned_one_is_cleared(site: Site) -> None:
    """After an hour without a chunk: cancelled, its texts erased, its key and its ids free again."""
    interrupted(site)
    with transaction(site.url) as session:
        assert receiving.abandon(session) == 0
        assert [each.records for each in receiving.incomplete(session)] == [20]
    site.ask("UPDATE submission_chunks SET stored_at = stored_at - interval '61 minutes'")
    site.ask("UPDATE submissions SET received_at = received_at - interval '61 minutes'")
    with transaction(site.url) as session:
        assert receiving.abandon(session) == 1
    cleared = 0
    while True:
        with transaction(site.url) as session:
            if not receiving.clear(session):
                break
        cleared += 1
    assert cleared == 3, "two chunks, and the submission"
    assert state(site) == ("cancelled", 20, 4)
    assert site.counts()["data_keys"] == 0
    assert site.ask("SELECT DISTINCT length(ciphertext), key_id FROM clinical_documents") == [(0, None)]
    assert site.ask("SELECT DISTINCT state, reason FROM consultations") == [("cancelled", "abandoned")]
    assert site.ask("SELECT DISTINCT state FROM owed_answers") == [("void",)]
    again = site.receive(LINES, idempotency_key="monday")
    assert (again.accepted, again.known) == (20, 0)


def test_who_still_sends_what_was_given_up_is_told(site: Site) -> None:
    """His next chunk is refused: half of a batch is never taken for the whole."""

    def slowly() -> Iterator[Read]:
        yield from read_ndjson(LINES[:15])
        site.ask("UPDATE submissions SET received_at = received_at - interval '61 minutes'")
        site.ask("UPDATE submission_chunks SET stored_at = stored_at - interval '61 minutes'")
        with transaction(site.url) as session:
            assert receiving.abandon(session) == 1
        yield from read_ndjson(LINES[15:])

    with pytest.raises(Abandoned, match="from its beginning"):
        site.receive(slowly(), idempotency_key="monday")


def test_a_deadline_counts_from_the_whole(site: Site) -> None:
    """What was received slowly has all of its time; until then nothing of it expires."""
    interrupted(site)
    site.ask("UPDATE submissions SET received_at = received_at - interval '2 days'")
    site.ask(
        "UPDATE consultations SET accepted_at = accepted_at - interval '2 days', "
        "deadline_at = deadline_at - interval '2 days'"
    )

    with transaction(site.url) as session:
        assert consultations.expired(session) == []
    site.receive(LINES, idempotency_key="monday")
    left = "extract(epoch FROM deadline_at - now()) / 86400 BETWEEN 0.99 AND 1"
    assert site.ask(f"SELECT DISTINCT {left} FROM consultations") == [(True,)]
