"""Accepting a batch: stored whole or not at all, sealed, counted, once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier

import pytest

from db.engine import transaction
from db.queries import reports
from producers.intake import IdempotencyConflict, NothingAccepted, Receipt, StrictBatch
from producers.readers.ndjson import read_ndjson
from producers.readers.record import Read
from shared.errors import ErasedError
from tests.producers.conftest import Site, record

PLANTED = "ZEBRA"
MALFORMED = [
    (b'{"id": "ZEBRA', "not_json", ""),
    (b"[1]", "not_an_object", ""),
    (b'{"id": "ZEBRA \xff"}', "not_utf8", ""),
    (b'{"id": "a", "id": "ZEBRA"}', "duplicate_field", ""),
    (b'{"vignette": "A man of seventy with chest pain."}', "missing", "id"),
    (b'{"id": "x", "vignette": "ZEBRA"}', "string_too_short", "vignette"),
    (
        b'{"id": "x", "vignette": "A man of seventy with chest pain.", "ZEBRA": 1}',
        "extra_forbidden",
        "",
    ),
]


def test_a_bulk_with_bad_records(site: Site) -> None:
    """500 vignettes with 7 malformed: 493 accepted, 7 set aside with line and reason; counts add up."""
    lines = [record(f"case-{k}") for k in range(493)]
    places = [0, 70, 141, 250, 333, 444, 499]
    for place, (bad, _, _) in zip(places, MALFORMED, strict=True):
        lines.insert(place, bad)
    receipt = site.accept(lines)
    assert (receipt.accepted, len(receipt.errors)) == (493, 7)
    told = [(place + 1, place, code, path) for place, (_, code, path) in zip(places, MALFORMED, strict=True)]
    assert [(e.line, e.ordinal, e.code, e.path) for e in receipt.errors] == told
    stored = site.ask(
        "SELECT line, ordinal, error_code, error_path, error_reason FROM records WHERE state = 'set_aside' "
        "ORDER BY ordinal"
    )
    assert stored == [(*row, e.reason) for row, e in zip(told, receipt.errors, strict=True)]
    assert site.counts() == {
        "submissions": 1,
        "records": 500,
        "consultations": 493,
        "seats": 3 * 493,
        "owed_answers": 3 * 493,
        "outcomes": 0,
        "clinical_documents": 500,
        "data_keys": 500,
        "prompts": 2,
        "model_versions": 12,
        "outbox_events": 0,
    }
    assert site.ask("SELECT array_agg(ordinal ORDER BY ordinal) FROM records")[0][0] == list(range(500))
    with transaction(site.url) as session:
        (row,) = reports.submissions(session, receipt.submission_id)
        results = reports.results(session, receipt.submission_id)
    assert (row["state"], row["records"], row["set_aside"], row["open"]) == ("open", 500, 7, 493)
    assert [r["line"] for r in results] == list(range(1, 501))
    assert Counter(r["record"] for r in results) == {"accepted": 493, "set_aside": 7}


def test_everything_clinical_is_sealed(site: Site) -> None:
    """Planted in every place of a record: in the database it is found nowhere, and opens as it was sent."""
    planted = {
        "vignette": "ZEBRA-text: a man of seventy has had chest pain.",
        "context": {
            "specialty": "ZEBRA-specialty",
            "conditions": ["ZEBRA-condition"],
            "allergies": ["ZEBRA-allergy"],
            "medications": [{"name": "ZEBRA-drug", "dose": "ZEBRA-dose"}],
        },
    }
    lines = [
        record("ZEBRA-id", **planted),
        record("ZEBRA-id", **planted),  # set aside: sent before
        *(bad for bad, _, _ in MALFORMED),
    ]
    receipt = site.accept(lines, idempotency_key="ZEBRA-key")
    assert (receipt.accepted, len(receipt.errors)) == (1, 8)
    tables = [
        row[0]
        for row in site.ask("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    ]
    assert len(tables) > 15
    needles = [PLANTED.encode(), PLANTED.encode().hex().encode()]
    for table in tables:
        for (row,) in site.ask(f'SELECT t::text FROM "{table}" t'):
            assert not any(needle in row.encode() for needle in needles), table
    kinds = Counter(kind for (kind,) in site.ask("SELECT kind FROM clinical_documents"))
    assert kinds == {"vignette": 1, "set_aside": 8}
    opened = []
    with transaction(site.url) as session:
        for row in reports.results(session, receipt.submission_id):
            opened.append(site.vault.open(session, row["document_id"]))
    assert json.loads(opened[0])["context"]["allergies"] == ["ZEBRA-allergy"]
    assert json.loads(opened[0])["id"] == "ZEBRA-id"
    assert json.loads(opened[1])["vignette"] == planted["vignette"]
    assert opened[2:] == [bad.decode(errors="replace") for bad, _, _ in MALFORMED]


def test_deleting_a_key_erases_one_record(site: Site) -> None:
    """The record's text is gone, its row and all other texts stay."""
    receipt = site.accept([record("a"), record("b")])
    with transaction(site.url) as session:
        first, second = (row["document_id"] for row in reports.results(session, receipt.submission_id))
    site.ask("DELETE FROM data_keys WHERE id = (SELECT key_id FROM clinical_documents WHERE id = %s)", first)
    with transaction(site.url) as session:
        with pytest.raises(ErasedError):
            site.vault.open(session, first)
        with pytest.raises(ErasedError):
            site.vault.open_record(session, first)
        assert "case b" in site.vault.open(session, second)
        assert len(reports.results(session, receipt.submission_id)) == 2


def test_texts_expire_by_the_databases_clock(site: Site) -> None:
    """Each document expires after the days of retention, accepted or set aside."""
    site.accept([record("a"), b"{"])
    days = "extract(epoch FROM expires_at - created_at)::int / 86400"
    assert site.ask(f"SELECT {days} FROM clinical_documents") == [(30,), (30,)]


def test_strict_stores_nothing(site: Site) -> None:
    """One bad record and every one is told, but nothing is stored; without a bad one all is."""
    before = site.counts()
    with pytest.raises(StrictBatch, match="2 bad records") as caught:
        site.accept([record("a"), b"{", record("b"), b"["], strict=True)
    assert [error.line for error in caught.value.set_aside] == [2, 4]
    assert site.counts() == before
    assert site.accept([record("a"), record("b")], strict=True).accepted == 2


def test_an_interrupted_accept_leaves_nothing(site: Site) -> None:
    """The input breaks off after two chunks have been written: nothing of the batch is there."""

    def breaking() -> Iterator[Read]:
        yield from read_ndjson([record(f"case-{k}") for k in range(1_200)])
        raise OSError("the stick was pulled out")

    before = site.counts()
    with pytest.raises(OSError, match="pulled out"):
        site.accept(breaking())
    assert site.counts() == before
    assert site.accept([record(f"case-{k}") for k in range(3)]).accepted == 3, "no id was used up"


def test_the_same_key_and_body_is_the_first_batch(site: Site) -> None:
    """The second time gives the first receipt, errors included, and adds nothing."""
    lines = [record("a"), b"{", record("b")]
    first = site.accept(lines, idempotency_key="monday")
    after = site.counts()
    again = site.accept(lines, idempotency_key="monday")
    assert again.repeated
    assert not first.repeated
    assert (again.submission_id, again.accepted) == (first.submission_id, first.accepted)
    assert [vars(e) for e in again.errors] == [vars(e) for e in first.errors]
    assert site.counts() == after


def test_the_same_key_with_another_body_is_refused(site: Site) -> None:
    """Nothing is stored, and the other key is free; each source has keys of its own."""
    site.accept([record("a")], idempotency_key="monday")
    before = site.counts()
    with pytest.raises(IdempotencyConflict, match=r"line 1 .* new key"):
        site.accept([record("b")], idempotency_key="monday")
    assert site.counts() == before
    site.source("ward", {})
    for order in ({"idempotency_key": "tuesday"}, {"idempotency_key": "monday", "source": "ward"}):
        assert not site.accept([record(f"b {order}")], **order).repeated


def test_batches_without_a_key_are_all_new(site: Site) -> None:
    """Without an idempotency key the same body is another batch."""
    ids = {site.accept([record(f"case-{k}")]).submission_id for k in range(3)}
    assert len(ids) == 3


def test_an_own_id_twice(site: Site) -> None:
    """For care a source's id comes once, within a batch, between chunks and between batches; else freely."""
    lines = [record("a"), record("b"), record("a"), *(record(f"c{k}") for k in range(600)), record("b")]
    first = site.accept(lines)
    second = site.accept([record("a"), record("new")])
    refused = [(e.line, e.code, e.path) for e in first.errors + second.errors]
    assert refused == [(3, "duplicate_id", "id"), (604, "duplicate_id", "id"), (1, "duplicate_id", "id")]
    assert (first.accepted, second.accepted) == (602, 1)
    for purpose in ("evaluation", "training", "demo"):
        again = site.accept([record("a"), record("a")], purpose=purpose)
        assert (again.accepted, again.errors) == (2, [])


def test_an_own_id_belongs_to_its_source(site: Site) -> None:
    """Another source may use the same id; a record that was set aside has not used its own."""
    site.source("ward", {})
    site.accept([record("a"), record("b", kind="wrong")])
    assert site.accept([record("a")], source="ward").errors == []
    assert site.accept([record("b")]).errors == [], "the mended record"


def test_gold_is_an_outcome_and_no_part_of_the_vignette(site: Site) -> None:
    """What is known to be right is stored apart: no prompt can be made of it by mistake."""
    gold = {"required": [{"any_of": ["aspirin"]}], "acceptable": [], "never": ["ibuprofen"]}
    receipt = site.accept([record("a", gold=gold), record("b")], purpose="evaluation")
    assert site.ask("SELECT kind, definition, gold FROM outcomes") == [("gold", "list-1", gold)]
    with transaction(site.url) as session:
        (first, _) = reports.results(session, receipt.submission_id)
        assert "gold" not in json.loads(site.vault.open(session, first["document_id"]))


def test_a_combination_in_gold_is_all_of_its_ingredients(site: Site) -> None:
    """Half of it is not right: the item becomes one for each ingredient."""
    site.accept([record("a", gold={"required": [{"any_of": ["sacubitril/valsartan"]}]})])
    [(gold,)] = site.ask("SELECT gold FROM outcomes")
    assert gold["required"] == [{"any_of": ["sacubitril"]}, {"any_of": ["valsartan"]}]


def test_a_batch_without_work_is_finished_at_once(site: Site) -> None:
    """Nothing to be waited for: it is finished, and its event is there."""
    receipt = site.accept([b"{", b"["])
    with transaction(site.url) as session:
        (row,) = reports.submissions(session, receipt.submission_id)
    assert (row["state"], row["records"], row["open"]) == ("finished", 2, 0)
    assert site.ask("SELECT type, submission_id FROM outbox_events ORDER BY id DESC LIMIT 1") == [
        ("submission.finished", receipt.submission_id)
    ]


@pytest.mark.parametrize("lines", [[], [b""], [b"\n", b" \n"]])
def test_an_empty_batch_is_refused(site: Site, lines: list[bytes]) -> None:
    """More often an export that failed than a night without patients; nothing is stored."""
    with pytest.raises(NothingAccepted, match="there is no record in it"):
        site.accept(lines)
    assert site.counts()["submissions"] == 0


def test_a_cap_that_was_changed_since_keeps_the_repeat(site: Site) -> None:
    """The operator changed it, not the sender: the same request is the same; with another cap it is not."""
    models = ("sim-alder-large", "sim-birch-large", "sim-cedar-large")
    order = {"idempotency_key": "monday", "strategy": "FIXED", "models": models}
    first = site.accept([record("a")], **order, budget_usd=Decimal(5))
    site.ask("UPDATE submissions SET budget_usd = 10")
    again = site.accept([record("a")], **order, budget_usd=Decimal(5))
    assert (again.submission_id, again.repeated) == (first.submission_id, True)
    with pytest.raises(IdempotencyConflict, match="another budget_usd"):
        site.accept([record("a")], **order, budget_usd=Decimal(10))


def test_a_second_batch_uses_the_same_versions_and_prompts(site: Site) -> None:
    """What is known already is not stored again."""
    site.accept([record("a")])
    before = site.counts()
    site.accept([record("b")])
    after = site.counts()
    assert {k: after[k] - before[k] for k in after if after[k] != before[k]} == {
        "submissions": 1,
        "records": 1,
        "consultations": 1,
        "seats": 3,
        "owed_answers": 3,
        "clinical_documents": 1,
        "data_keys": 1,
    }


def test_of_two_batches_with_one_key_at_once_one_is_stored(site: Site) -> None:
    """The second waits for the first's commit, and gives the same answer."""

    def keep_open() -> Receipt:
        with transaction(site.url) as session:
            receipt = site.accept([record("a")], session, idempotency_key="monday")
            holding.wait()
            while not site.ask("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]:
                pass
            return receipt

    holding = Barrier(2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(keep_open)
        holding.wait()
        second = site.accept([record("a")], idempotency_key="monday")
        assert (second.repeated, second.submission_id) == (True, first.result().submission_id)
    assert site.counts()["submissions"] == 1


def test_first_batches_at_once_all_get_in(site: Site) -> None:
    """Several batches make the same versions and prompts at the same moment, and none is locked out."""
    start = Barrier(4)

    def first(k: int) -> int:
        start.wait()
        return site.accept([record(f"{k} {j}") for j in range(20)], seed=k).accepted

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(first, range(4))) == [20] * 4
    assert (site.counts()["model_versions"], site.counts()["prompts"]) == (12, 2)
