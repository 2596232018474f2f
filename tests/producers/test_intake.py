"""Accepting a batch: stored whole, sealed, counted, and drawn as the source's policy allows."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import IntegrityError

from db.engine import transaction
from db.queries import consultations, reports
from db.queries.documents import Vault
from producers.intake import IdempotencyConflict, Order, Receipt, StrictBatch, accept
from producers.readers.ndjson import Read, read_ndjson
from shared.errors import ErasedError, NotEnoughModels, SettingsError
from shared.flow import Ask, next_step
from shared.registry import Registry
from shared.sealing import SiteKey, new_site_key
from shared.settings import Settings
from tests.accepted import registry as panel_registry

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


def record(own_id: str, **changes: Any) -> bytes:
    """A good record."""
    return json.dumps(
        {"id": own_id, "vignette": f"A man of seventy has had chest pain: case {own_id}.", **changes}
    ).encode()


class Site:
    """A database with a site's key, settings and models."""

    def __init__(self, url: str, registry: Registry) -> None:
        self.url = url
        self.registry = registry
        self.settings = Settings(_env_file=None)
        self.vault = Vault(SiteKey(new_site_key()), 30)

    def accept(self, lines: list[bytes] | Iterator[Read], body: str = "body", **order: Any) -> Receipt:
        """One batch in a transaction of its own."""
        with transaction(self.url) as session:
            return accept(
                session,
                read_ndjson(lines) if isinstance(lines, list) else lines,
                Order(**order),
                body_digest=body,
                settings=self.settings,
                registry=self.registry,
                vault=self.vault,
            )

    def source(self, name: str, policy: dict[str, Any]) -> None:
        """Add a source."""
        self.ask(
            "INSERT INTO sources (id, name, policy) VALUES (gen_random_uuid(), %s, %s)",
            name,
            json.dumps(policy),
        )

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of one statement, if it has any."""
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def counts(self) -> dict[str, int]:
        """Rows of every table that a batch writes to."""
        tables = (
            "submissions records consultations seats owed_answers outcomes clinical_documents data_keys "
            "prompts model_versions outbox_events"
        )
        return {table: self.ask(f"SELECT count(*) FROM {table}")[0][0] for table in tables.split()}


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The simulated panel's models; nobody listens there."""
    return panel_registry()


@pytest.fixture
def site(database_url: str, registry: Registry) -> Site:
    """A fresh site."""
    return Site(database_url, registry)


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
    receipt = site.accept(lines, body="ZEBRA-body", idempotency_key="ZEBRA-key")
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
            site.vault.key_of(session, first)
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
    site.accept([record("a")], body="one", idempotency_key="monday")
    before = site.counts()
    with pytest.raises(IdempotencyConflict, match="new key"):
        site.accept([record("b")], body="two", idempotency_key="monday")
    assert site.counts() == before
    site.source("ward", {})
    for order in ({"idempotency_key": "tuesday"}, {"idempotency_key": "monday", "source": "ward"}):
        assert not site.accept([record(f"b {order}")], body="two", **order).repeated


def test_batches_without_a_key_are_all_new(site: Site) -> None:
    """Without an idempotency key the same body is another batch."""
    ids = {site.accept([record(f"case-{k}")]).submission_id for k in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("purpose", ["care", "evaluation", "training", "demo"])
def test_an_own_id_twice(site: Site, purpose: str) -> None:
    """For care a source's id comes once, within a batch, between chunks and between batches; else freely."""
    lines = [record("a"), record("b"), record("a"), *(record(f"c{k}") for k in range(600)), record("b")]
    first = site.accept(lines, purpose=purpose)
    second = site.accept([record("a"), record("new")], purpose=purpose)
    refused = [(e.line, e.code, e.path) for e in first.errors + second.errors]
    if purpose == "care":
        assert refused == [(3, "duplicate_id", "id"), (604, "duplicate_id", "id"), (1, "duplicate_id", "id")]
        assert (first.accepted, second.accepted) == (602, 1)
    else:
        assert refused == []


def test_an_own_id_belongs_to_its_source(site: Site) -> None:
    """Another source may use the same id; a record that was set aside has not used its own."""
    site.source("ward", {})
    site.accept([record("a"), record("b", kind="wrong")])
    assert site.accept([record("a")], source="ward").errors == []
    assert site.accept([record("b")]).errors == [], "the mended record"


def test_a_local_only_source_draws_local_models(site: Site) -> None:
    """No remote model is drawn, whatever the strategy; too few local ones is an error."""
    site.source("ward", {"allow": ["local"]})
    local = {m.name for m in site.registry.values() if m.location == "local"}
    assert len(local) == 5
    for strategy in ("RANDOM", "LOCAL"):
        site.accept([record(f"{strategy} {k}") for k in range(50)], source="ward", strategy=strategy, n=4)
    drawn = {
        name
        for (name,) in site.ask(
            "SELECT DISTINCT v.name FROM seats s JOIN model_versions v ON v.id = s.model_version_id"
        )
    }
    assert drawn == local
    before = site.counts()
    fixed = ("sim-alder-large", *sorted(local)[:2])
    assert fixed[0] not in local
    for order in (
        {"strategy": "RANDOM", "n": 6},
        {"strategy": "REMOTE", "n": 2},
        {"strategy": "FIXED", "models": fixed},
    ):
        with pytest.raises(NotEnoughModels):
            site.accept([record("late")], source="ward", **order)
    assert site.counts() == before


def test_the_draw_is_stored(site: Site) -> None:
    """Seed, probability and who was allowed stand with each consultation, and the seed gives it again."""
    site.accept([record(f"a{k}") for k in range(40)], n=3, seed=7)
    site.accept([record(f"b{k}") for k in range(40)], n=3, seed=7)
    site.accept([record(f"c{k}") for k in range(40)], n=3, seed=8)
    rows = site.ask("""
        SELECT c.seed, c.draw_probability, c.allowed, c.explored,
               array_agg(v.name ORDER BY s.seat) AS names, sub.seed
        FROM consultations c
        JOIN records r ON r.id = c.record_id
        JOIN submissions sub ON sub.id = c.submission_id
        JOIN seats s ON s.consultation_id = c.id
        JOIN model_versions v ON v.id = s.model_version_id
        GROUP BY c.id, c.source_id, r.ordinal, sub.received_at, sub.seed
        ORDER BY sub.received_at, r.ordinal
    """)
    assert len(rows) == 120
    for _, probability, allowed, explored, names, _ in rows:
        assert probability == pytest.approx(1 / math.comb(12, 3))
        assert allowed == sorted(site.registry)
        assert not explored
        assert len(set(names)) == 3
    one, same, other = rows[:40], rows[40:80], rows[80:]
    assert [(row[0], row[4]) for row in one] == [(row[0], row[4]) for row in same]
    assert not {row[0] for row in one} & {row[0] for row in other}
    assert len({row[0] for row in one}) == 40
    assert len({tuple(row[4]) for row in one}) > 20
    assert [row[5] for row in rows[::40]] == [7, 7, 8]


def test_a_fixed_ensemble_is_as_large_as_its_list(site: Site) -> None:
    """The quorum follows from n, so n is the number of seats, and the seats are in the list's order."""
    names = tuple(sorted(site.registry))[:5][::-1]
    site.accept([record("a")], strategy="FIXED", models=names, n=3)
    assert site.ask("SELECT n, draw_probability FROM consultations") == [(5, 1.0)]
    assert site.ask("SELECT n, models FROM submissions") == [(5, list(names))]
    seated = site.ask(
        "SELECT v.name FROM seats s JOIN model_versions v ON v.id = s.model_version_id ORDER BY seat"
    )
    assert tuple(name for (name,) in seated) == names


def test_what_is_owed_starts_the_flow(site: Site) -> None:
    """Each seat owes one generation with the prompt in force, ready to be asked."""
    site.accept([record("a")], n=4)
    ((consultation_id,),) = site.ask("SELECT id FROM consultations")
    with transaction(site.url) as session:
        owed = consultations.owed(session, consultation_id, within_s=0)
    step = next_step(4, owed)
    assert isinstance(step, Ask)
    assert [(o.seat, o.kind, o.state) for o in step.owed] == [(k, "generation", "owed") for k in range(4)]
    prompts = site.ask(
        "SELECT DISTINCT o.prompt_id = c.generate_prompt_id FROM owed_answers o, consultations c"
    )
    assert prompts == [(True,)]


def test_gold_is_an_outcome_and_no_part_of_the_vignette(site: Site) -> None:
    """What is known to be right is stored apart: no prompt can be made of it by mistake."""
    gold = {"required": [{"any_of": ["aspirin"]}], "acceptable": [], "never": ["ibuprofen"]}
    receipt = site.accept([record("a", gold=gold), record("b")], purpose="evaluation")
    assert site.ask("SELECT kind, definition, gold FROM outcomes") == [("gold", "list-1", gold)]
    with transaction(site.url) as session:
        (first, _) = reports.results(session, receipt.submission_id)
        assert "gold" not in json.loads(site.vault.open(session, first["document_id"]))


@pytest.mark.parametrize(
    ("order", "priority", "seconds"),
    [
        ({"priority": "urgent"}, 0, 900),
        ({"priority": "routine"}, 1, 86_400),
        ({"priority": "background"}, 2, 86_400),
        ({"purpose": "evaluation", "priority": "urgent"}, 2, None),
        ({"purpose": "training"}, 2, None),
        ({"purpose": "demo"}, 2, None),
    ],
)
def test_priority_and_deadline(site: Site, order: dict[str, Any], priority: int, seconds: int | None) -> None:
    """Care has a deadline by its priority; the other purposes run as background without one."""
    site.accept([record("a")], **order)
    found = site.ask("SELECT priority, extract(epoch FROM deadline_at - accepted_at)::int FROM consultations")
    assert found == [(priority, seconds)]


@pytest.mark.parametrize("lines", [[], [b""], [b"{", b"["]])
def test_a_batch_without_work_is_finished_at_once(site: Site, lines: list[bytes]) -> None:
    """Nothing to be waited for: it is finished, and its event is there."""
    receipt = site.accept(lines)
    with transaction(site.url) as session:
        (row,) = reports.submissions(session, receipt.submission_id)
    assert (row["state"], row["records"], row["open"]) == ("finished", len(receipt.errors), 0)
    assert site.ask("SELECT type, submission_id FROM outbox_events") == [
        ("submission.finished", receipt.submission_id)
    ]


def test_an_unknown_source_or_order_is_an_error(site: Site) -> None:
    """The message says what to do, and nothing is stored."""
    before = site.counts()
    for order, said in (
        ({"source": "nobody"}, "consilium sources add"),
        ({"strategy": "BEST"}, "one of LOCAL, REMOTE, RANDOM, FIXED"),
        ({"n": 13}, "2 to 12"),
    ):
        with pytest.raises(SettingsError, match=said):
            site.accept([record("a")], **order)
    assert site.counts() == before


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
    """The second looked before the first was committed: the database refuses it."""
    site.accept([record("before")])
    before = site.counts()

    def until_another_waits() -> Iterator[Read]:
        second = pool.submit(site.accept, [record("a")], idempotency_key="monday")
        seconds.append(second)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not site.ask(waiting)[0][0] and not second.done():
            pass
        yield from read_ndjson([record("a")])

    seconds: list[Future[Receipt]] = []
    with ThreadPoolExecutor(1) as pool:
        site.accept(until_another_waits(), idempotency_key="monday")
        with pytest.raises(IntegrityError) as caught:
            seconds[0].result()
    assert "monday" not in str(caught.value)
    assert site.counts()["submissions"] == before["submissions"] + 1


def test_first_batches_at_once_all_get_in(site: Site) -> None:
    """Several batches make the same versions and prompts at the same moment, and none is locked out."""
    start = Barrier(4)

    def first(k: int) -> int:
        start.wait()
        return site.accept([record(f"{k} {j}") for j in range(20)], seed=k).accepted

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(first, range(4))) == [20] * 4
    assert (site.counts()["model_versions"], site.counts()["prompts"]) == (12, 2)
