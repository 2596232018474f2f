"""Retention: what is past it is destroyed, once a period; what is open or younger stays."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from db.engine import transaction
from db.queries import erasing
from tests.accepted import ask, consultations_of, one_owed, submit
from workers import purging
from workers.context import Context

KEPT = """
    SELECT r.ordinal FROM records r JOIN clinical_documents d ON d.id = r.document_id
    WHERE d.key_id IS NOT NULL AND d.ciphertext <> '' ORDER BY 1
"""


def ended(ctx: Context, *consultations: uuid.UUID) -> None:
    """They have failed, as workers end them."""
    ask(
        ctx,
        "UPDATE consultations SET state = 'failed', stage = 'ended', ended_at = now() WHERE id = ANY(%s)",
        list(consultations),
    )


def grown_old(ctx: Context, where: str = "true", *values: Any) -> None:
    """Documents are past their retention."""
    ask(ctx, f"UPDATE clinical_documents SET expires_at = now() - interval '1 minute' WHERE {where}", *values)


def kept(ctx: Context) -> list[int]:
    """Ordinals of the records whose text is there."""
    return [ordinal for (ordinal,) in ask(ctx, KEPT)]


def test_only_what_is_old_and_ended_goes(ctx: Context) -> None:
    """Of five: one is young, one still open, one has a younger answer; the other two are destroyed."""
    lines = [b'{"id": "%d", "vignette": "A man of seventy has chest pain."}' % k for k in range(4)] + [
        b'{"id": 5}'
    ]
    young, open_, answered, _ = consultations_of(ctx, submission := submit(ctx, lines))
    ended(ctx, *consultations_of(ctx, submission))
    ask(ctx, "UPDATE consultations SET state = 'open', ended_at = NULL WHERE id = %s", open_)
    [(vignette, source)] = ask(
        ctx, "SELECT document_id, source_id FROM consultations WHERE id = %s", answered
    )
    grown_old(ctx, "consultation_id IS DISTINCT FROM %s", young)
    with transaction(ctx.settings.require_database()) as session:
        key, _ = ctx.vault.open_record(session, vignette)
        late = ctx.vault.sealed(key, "raw_answer", "{}", source_id=source, consultation_id=answered)
        ctx.vault.store_many(session, [late])
    assert purging.purge_expired(ctx) == 2
    assert kept(ctx) == [0, 1, 2]
    assert ask(ctx, "SELECT count(*) FROM data_keys") == [(3,)]
    assert ask(ctx, "SELECT erased_at FROM records GROUP BY 1") == [(None,)]
    [(purged,)] = ask(ctx, "SELECT id FROM records WHERE ordinal = 3")
    with ctx.transaction() as session:
        left = erasing.standing(session, purged)
    assert left is not None
    assert (left["text"], left["consultation_state"]) == ("purged", "failed")


def test_once_a_period(ctx: Context) -> None:
    """A second message of the same period does nothing; the next period goes on."""
    first, second = (consultations_of(ctx, submit(ctx))[0] for _ in range(2))
    ended(ctx, first, second)
    grown_old(ctx, "consultation_id = %s", first)
    assert purging.purge_expired(ctx) == 1
    grown_old(ctx)
    assert purging.purge_expired(ctx) == 0
    ask(ctx, "UPDATE periodic_runs SET period = period - 1")
    assert purging.purge_expired(ctx) == 1
    assert ask(ctx, "SELECT result FROM periodic_runs ORDER BY period") == [("purged 1",), ("purged 1",)]


def test_two_at_once_do_no_harm(ctx: Context) -> None:
    """What one has taken the other leaves; together they destroy each record's text once."""
    ended(ctx, *consultations_of(ctx, submit(ctx, 6)))
    grown_old(ctx)
    url = ctx.settings.require_database()
    with ThreadPoolExecutor(1) as pool, transaction(url) as session:
        assert erasing.purge(session, most=4) == 4

        def other() -> int:
            with transaction(url) as theirs:
                return erasing.purge(theirs, most=4)

        assert pool.submit(other).result(timeout=10) == 2
    assert kept(ctx) == []
    assert ask(ctx, "SELECT count(*) FROM data_keys") == [(0,)]


def test_it_is_found_by_its_index(ctx: Context) -> None:
    """Whatever the history, the next batch is found by the index of what expires."""
    one_owed(ctx)
    statement = str(erasing.EXPIRED.text).replace(":most", "5")
    with transaction(ctx.settings.require_database()) as session:
        connection = session.connection()
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = "\n".join(line for (line,) in connection.exec_driver_sql(f"EXPLAIN {statement}"))
    assert "ix_clinical_documents__expiring" in plan
    assert "Seq Scan" not in plan
