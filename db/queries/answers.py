"""What a paid answer becomes, in two statements: stored as it came, then settled as it was read.

Each is one round trip and a transaction of its own. Both lock the record's key first, as whoever erases does:
neither then waits for the other, and without its key nothing is stored.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from db.engine import Runs
from db.queries import model_versions
from db.queries.owed_answers import CLOSED, SPENT, Usage
from shared.errors import ErasedError
from shared.registry import Model

KEY = """
    key AS (SELECT id, source_id FROM data_keys WHERE id = :key_id AND source_id = :source_id FOR KEY SHARE)
"""
DOCUMENT = """
        INSERT INTO clinical_documents (id, source_id, consultation_id, kind, key_id, ciphertext, expires_at)
        SELECT :document_id, source_id, :consultation_id, :kind, :key_id, :ciphertext,
               now() + make_interval(days => :retention_days)
"""

# The raw answer is on record as soon as its body is read, with its call and its cost; only the claim that
# made the call may attach it, after another it is late.
STORE_RAW = text(f"""
    WITH {KEY}, stored AS ({DOCUMENT} FROM key RETURNING id), attached AS (
        UPDATE owed_answers o SET raw_id = stored.id, limited_since = NULL
        FROM stored WHERE o.id = :id AND o.state = 'owed' AND o.claims = :claim
        RETURNING o.id
    ), said AS (
        SELECT EXISTS (SELECT FROM stored) AS kept, EXISTS (SELECT FROM attached) AS ours
    ), closed AS ({
    CLOSED.format(
        outcome="CASE WHEN said.ours THEN 'answered' ELSE 'late' END", only="FROM said WHERE said.kept AND"
    )
}), spent AS ({SPENT})
    SELECT kept, ours, EXISTS (SELECT FROM model_states WHERE name = :model AND failures > 0) AS failing
    FROM said
""")

# The answer is read and stored: the row is done. That is progress, which is not indexed, so both updates are
# HOT.
SETTLED = f"""
    WITH {KEY}, version AS (
        SELECT id FROM model_versions
        WHERE provider = :provider AND name = :name AND parameters_digest = :parameters_digest
          AND returned IS NOT DISTINCT FROM CAST(:returned AS varchar)
    ), settled AS (
        UPDATE owed_answers o
        SET state = 'answered', answer_id = :answer_id, raw_id = NULL, repair_of = NULL,
            claimed_until = NULL, not_before = NULL
        FROM key, version
        WHERE o.id = :id AND o.state = 'owed' AND o.claims = :claim
        RETURNING o.id, o.source_id, o.consultation_id, o.seat, o.occupancy, o.about,
                  version.id AS model_version_id
    ), progressed AS (
        UPDATE consultations c SET progressed_at = now(), held = NULL, fruitless = 0
        FROM settled s WHERE c.id = s.consultation_id AND c.source_id = s.source_id
    ), document AS ({DOCUMENT} FROM settled), answer AS (
        INSERT INTO {{table}}
            (id, source_id, consultation_id, owed_answer_id, seat, occupancy, model_version_id,
             raw_document_id, document_id, latency_s, {{columns}})
        SELECT :answer_id, source_id, consultation_id, id, seat, occupancy, model_version_id,
               :raw_id, :document_id, CAST(:latency_s AS float), {{values}}
        FROM settled
    )
    SELECT EXISTS (SELECT FROM key) AS kept, EXISTS (SELECT FROM version) AS known,
           EXISTS (SELECT FROM settled) AS ours
"""
SETTLE_GENERATION = text(
    SETTLED.format(
        table="generations",
        columns="decision, starts, stops",
        values=":decision, CAST(:starts AS varchar[]), CAST(:stops AS varchar[])",
    )
)
SETTLE_REVIEW = text(
    SETTLED.format(
        table="reviews",
        columns="generation_id, grade, label, position, scrubbed, shown_characters",
        values="about, :grade, :label, :position, :scrubbed, CAST(:shown_characters AS int)",
    )
)


@dataclass(frozen=True)
class Stored:
    """What became of a raw answer. `kept`: it is stored, else its record was erased, and its call is open
    still; `ours`: it is attached, else it came late; `failing`: its model's last calls had failed."""

    kept: bool
    ours: bool
    failing: bool


@dataclass(frozen=True)
class ReadGeneration:
    """What was read of an answer to the vignette: ingredient codes, its words in the document."""

    decision: str
    starts: list[str]
    stops: list[str]


@dataclass(frozen=True)
class ReadReview:
    """What was read of a review (`grade` in [0, 1]), and how the answer had been shown."""

    grade: float
    label: str
    position: int
    scrubbed: int
    shown_characters: int | None


def store_raw(
    session: Runs,
    owed_id: uuid.UUID,
    claim: int,
    document: Mapping[str, Any],
    usage: Usage,
    *,
    model: str,
) -> Stored:
    """Store a raw answer (`document`: by `Vault.sealed`, with `retention_days`), attach it, book its call."""
    given = {**document, "id": owed_id, "document_id": document["id"], "claim": claim, "model": model}
    row = session.execute(STORE_RAW, {**given, "error_kind": None, **vars(usage)}).one()
    return Stored(**row._mapping)


def settle(
    session: Runs,
    owed_id: uuid.UUID,
    claim: int,
    answer_id: uuid.UUID,
    read: ReadGeneration | ReadReview,
    document: Mapping[str, Any],
    *,
    raw_id: uuid.UUID,
    latency_s: float | None,
    model: Model,
    returned: str | None,
) -> bool:
    """Store what was read (its words: `document`) as the answer; False if the claim is no longer ours.

    `returned`: the model's name as its provider told it. Raises `ErasedError`.
    """
    given = {
        **document,
        **vars(read),
        "provider": model.provider,
        "name": model.name,
        "parameters_digest": model.parameters_digest,
        "returned": returned,
        "id": owed_id,
        "document_id": document["id"],
        "claim": claim,
        "answer_id": answer_id,
        "raw_id": raw_id,
        "latency_s": latency_s,
    }
    statement = SETTLE_GENERATION if isinstance(read, ReadGeneration) else SETTLE_REVIEW
    row = session.execute(statement, given).one()
    if row.kept and not row.known:  # the first answer of this version
        model_versions.ensure_version(session, model, returned)
        row = session.execute(statement, given).one()
    if not row.kept:
        raise ErasedError("the text of this record was erased")
    return bool(row.ours)
