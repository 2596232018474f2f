"""`consilium erase`, `cancel`, `audit` and `sitekey`, on a real database."""

from __future__ import annotations

import uuid
from itertools import pairwise

import psycopg
import pytest
from sqlalchemy.exc import IntegrityError

from db.engine import transaction
from db.queries import audit, documents
from embedded.services import Services
from shared.errors import SealedElsewhere
from shared.sealing import SiteKey, new_site_key
from shared.settings import Settings
from tests.producers import test_cli
from tests.producers.test_cli import UNKNOWN, Shell, record
from tests.stored import Stored

shell = test_cli.shell
closed_port = test_cli.closed_port


@pytest.fixture
def stored(database_url: str, services: Services) -> Stored:
    """What lies in the database that the command line works on."""
    assert services.addresses.site_key
    return Stored(database_url, services.addresses.site_key)


def test_erase(shell: Shell, stored: Stored) -> None:
    """Several at once; one that is not there is told at the end, and the others are erased."""
    _, (one, two) = stored.submit(2)
    first, second = (stored.row("consultations", id_)["record_id"] for id_ in (one, two))
    [row] = shell.rows("erase", first)
    assert (row["record"], row["consultation_state"]) == (first, "cancelled")
    done = shell.here("erase", first, UNKNOWN, second)
    assert (done.code, UNKNOWN in done.err, second in done.out) == (8, True, True)
    assert f"{one} is a consultation, whose record is {first}" in shell.fails("erase", str(one), code=8)
    assert stored.ask("SELECT count(*) FROM data_keys") == [(0,)]
    assert [line for line in stored.audited() if line[1] == "erase"] == [
        ("cli", "erase", first),
        ("cli", "erase", second),
    ]
    assert stored.states(one) == ["void"] * 3


def test_cancel(shell: Shell, stored: Stored) -> None:
    """What has not begun is cancelled, and audited once; an unknown submission is said."""
    submission, _ = stored.submit(2)
    for _ in range(2):
        assert shell.rows("cancel", str(submission)) == [{"cancelled": 2, "going_on": 0, "ended": 0}]
    assert [line for line in stored.audited() if line[1] == "cancel"] == [("cli", "cancel", str(submission))]
    assert shell.here("cancel", UNKNOWN).code == 8


def test_the_audit_is_read_by_source_what_and_time(shell: Shell, stored: Stored) -> None:
    """The newest first; choices narrow it; what is older is left out."""
    stored.source("north")
    with transaction(stored.url) as session:
        [(north,)] = stored.ask("SELECT id FROM sources WHERE name = 'north'")
        audit.record(session, "key k", "read", "consultation c", north)
        audit.record(session, "cli", "pause", "x" * 200)
    rows = shell.rows("audit")
    assert [(r["source"], r["who"], r["what"]) for r in rows[:2]] == [
        (None, "cli", "pause"),
        ("north", "key k", "read"),
    ]
    assert len(rows[0]["which"]) == 100
    assert [r["what"] for r in shell.rows("audit", "--source", "north")] == ["read"]
    assert [r["what"] for r in shell.rows("audit", "--what", "pause", "--since", "1h")] == ["pause"]
    assert len(shell.rows("audit", "--most", "1")) == 1
    assert "no source named 'nort'" in shell.fails("audit", "--source", "nort", code=8)


def test_no_line_of_the_audit_changes(stored: Stored) -> None:
    """Not even by who owns the table."""
    with transaction(stored.url) as session:
        audit.record(session, "cli", "pause", "all")
    for change in ("UPDATE audit SET who = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(IntegrityError, match="append-only"):
            stored.ask(change)
    assert ("cli", "pause", "all") in stored.audited()


def test_the_audit_is_read_by_an_index(stored: Stored) -> None:
    """Each choice has one, which also gives the order."""
    choices = {"at": "true", "source_id": f"a.source_id = '{uuid.uuid4()}'", "what": "a.what = 'erase'"}
    for name, condition in choices.items():
        with psycopg.connect(stored.url) as connection:
            connection.execute("SET enable_seqscan = off")
            asked = f"SELECT * FROM audit a WHERE {condition} ORDER BY a.at DESC, a.id DESC LIMIT 50"
            plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {asked}"))
        assert f"ix_audit__{name}" in plan


def test_clinical_text_on_a_screen_is_audited(shell: Shell, stored: Stored) -> None:
    """Who looks at results or a case is on record, with the id alone."""
    submission, (one,) = stored.submit()
    assert shell.here("results", str(submission)).code == 0
    assert shell.here("show", str(one)).code == 0
    assert stored.audited()[-2:] == [
        ("cli", "results.read", str(submission)),
        ("cli", "consultation.read", str(one)),
    ]


def _settings(stored: Stored, key: str, previous: str | None = None) -> Settings:
    return Settings(_env_file=None, database_url=stored.url, site_key=key, previous_site_key=previous)


def test_the_site_key_is_rotated(shell: Shell, stored: Stored, services: Services) -> None:
    """Everything opens after it, without the old key too; own ids and idempotency keys are still known."""
    old, new = services.addresses.site_key, new_site_key()
    shell.file("batch.ndjson", record("MRN-1"), record("MRN-2"))
    shell.file("extra.ndjson", record("MRN-3"))
    shell.file("double.ndjson", record("MRN-1"), record("MRN-3"))
    send = ("submit", "batch.ndjson", "--idempotency-key", "night-1")
    [first] = shell.rows(*send)
    assert "CONSILIUM_PREVIOUS_SITE_KEY is not set" in shell.fails("sitekey", "rotate", code=2)
    both = {"CONSILIUM_SITE_KEY": new, "CONSILIUM_PREVIOUS_SITE_KEY": str(old)}
    # before it: both keys open, what is new is sealed by the new one, and digests are those of the old one
    assert shell.rows(*send, **both)[0]["submission"] == first["submission"]
    assert shell.here("submit", "extra.ndjson", **both).code == 0
    [status] = shell.rows("sitekey", "status", **both)
    assert (status["site_key"], status["left"]) == (SiteKey(new).id, 2)
    done = shell.here("sitekey", "rotate", **both)
    assert "2 keys are wrapped" in done.out
    assert "CONSILIUM_PREVIOUS_SITE_KEY can go" in done.out
    [again] = shell.rows("sitekey", "rotate", **both)
    assert (again["rewrapped"], again["left"]) == (0, 0)
    # the old key is gone
    only = {"CONSILIUM_SITE_KEY": new}
    assert shell.rows(*send, **only)[0]["submission"] == first["submission"]
    assert shell.rows("submit", "double.ndjson", code=6, **only)[0]["set_aside"] == 2
    assert {r["id"] for r in shell.rows("results", first["submission"], **only)} == {"MRN-1", "MRN-2"}
    # and opens nothing any more
    vault = documents.Vault.of(_settings(stored, str(old)))
    [(document,)] = stored.ask("SELECT document_id FROM records LIMIT 1")
    with transaction(stored.url) as session, pytest.raises(SealedElsewhere):
        vault.open(session, document)
    with pytest.raises(SealedElsewhere):
        vault.site_key.digest("own id")
    assert any(what == "sitekey.rotate" for _, what, _ in stored.audited())


def test_a_second_rotation_keeps_the_digests(shell: Shell, stored: Stored, services: Services) -> None:
    """Old → new → newest: the digests are the first key's for ever, and only the newest key opens them."""
    keys = [str(services.addresses.site_key), new_site_key(), new_site_key()]
    stored.submit()
    first = SiteKey(keys[0]).digest("own id", "1")
    for previous, key in pairwise(keys):
        both = {"CONSILIUM_SITE_KEY": key, "CONSILIUM_PREVIOUS_SITE_KEY": previous}
        assert shell.here("sitekey", "rotate", **both).code == 0
        vault = documents.Vault.of(_settings(stored, key))
        assert vault.site_key.digest("own id", "1") == first
        assert stored.ask("SELECT count(*) FROM site_secrets") == [(1,)]
    with pytest.raises(SealedElsewhere):
        documents.Vault.of(_settings(stored, keys[1])).site_key.digest("own id", "1")
