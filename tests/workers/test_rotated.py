"""The site's key is rotated while workers are at it: what they store, and what lies there, opens after it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from db.engine import source_transaction, transaction
from db.queries import documents, rotating
from db.queries.documents import Vault
from shared.sealing import DIGESTS, new_site_key
from tests import accepted
from tests.accepted import ask, consultations_of, one_owed, owed_by, recommendation, row, submit
from tests.workers.chat_server import Server, chat_servers, completion
from workers import answering
from workers.answering import Again
from workers.context import Context

OLD, NEW = new_site_key(), new_site_key()


@pytest.fixture
def server() -> Iterator[Server]:
    """A model server that answers."""
    with chat_servers() as start:
        started = start()
        started.body = completion(recommendation("amoxicillin"))
        yield started


def worker(url: str, server: Server, key: str, previous: str | None = None) -> Context:
    """A process with these site keys."""
    made = accepted.context(url, server.url, site_key=key, previous_site_key=previous)
    return replace(made, vault=Vault.of(made.settings))


def rotate(ctx: Context, *, most: int = 500) -> int:
    """One pass; how many were wrapped anew."""
    done, after = 0, rotating.FIRST
    while True:
        with ctx.transaction() as session:
            ids = rotating.rewrap(session, ctx.vault.site_key, after=after, most=most)
        if not ids:
            return done
        done, after = done + len(ids), ids[-1]


def test_under_load(database_url: str, server: Server) -> None:
    """Answers are stored while keys are wrapped anew, one by one; then the new key alone opens them all."""
    before = worker(database_url, server, OLD)
    consultations = consultations_of(before, submit(before, 4))
    owed = [owed_id for consultation in consultations for owed_id in owed_by(before, consultation)]
    both = worker(database_url, server, NEW, OLD)
    with both.transaction() as session:
        rotating.keep_digest_key(session, both.vault.site_key)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(answering.answer, both, owed_id) for owed_id in owed]
        rewrapped = rotate(both, most=1)
        submit(both, 2)
        assert [answer.result(timeout=60) for answer in answers] == [None] * 12
    rewrapped += rotate(both)
    after = worker(database_url, server, NEW)
    assert rewrapped == 4
    documents: list[uuid.UUID] = [id_ for (id_,) in ask(after, "SELECT id FROM clinical_documents")]
    with after.transaction() as session:
        assert rotating.left(session, after.vault.site_key) == 0
        assert len(after.vault.open_all(session, documents)) == len(documents) == 4 + 12 * 2 + 2
    assert after.vault.site_key.digest("x") == before.vault.site_key.digest("x")


def test_two_at_once_do_each_key_once(database_url: str, server: Server) -> None:
    """What one has locked the other leaves."""
    before = worker(database_url, server, OLD)
    submit(before, 4)
    both = worker(database_url, server, NEW, OLD)
    with transaction(database_url) as session:
        assert len(rotating.rewrap(session, both.vault.site_key, most=3)) == 3
        assert rotate(both) == 1


def test_who_has_the_old_key_alone_leaves_it_to_others(database_url: str, server: Server) -> None:
    """A process that was not restarted gives the answer back, uncounted, and asks nobody; another does it."""
    before = worker(database_url, server, OLD)
    both = worker(database_url, server, NEW, OLD)
    owed_id = one_owed(both)  # sealed by the new key
    assert isinstance(answering.answer(before, owed_id), Again)
    now = row(before, owed_id)
    assert (now["state"], now["claimed_until"], now["tries"]) == ("owed", None, 0)
    assert server.requests == []
    assert answering.answer(both, owed_id) is None
    assert row(before, owed_id)["state"] == "answered"


def test_api_and_workers_read_the_digest_key(database_url: str, server: Server) -> None:
    """With the rights that their logins have by themselves."""
    ctx = worker(database_url, server, NEW, OLD)
    with ctx.transaction() as session:
        rotating.keep_digest_key(session, ctx.vault.site_key)
    for role in ("enter", "work"):
        with source_transaction(database_url, None, role) as session:
            wrapped = session.execute(documents.SECRET, {"id": DIGESTS}).scalar_one()
        assert ctx.vault.site_key.unwrap(DIGESTS, wrapped).id == DIGESTS
