"""Accepted work brought to any state by SQL, as workers would have: for what operators look at and mend."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from db.engine import transaction
from db.ids import new_id
from db.queries.documents import Vault
from producers.intake import Order, accept
from producers.readers.ndjson import read_ndjson
from shared.registry import Registry
from shared.sealing import SiteKey
from shared.settings import Settings
from tests.accepted import TRIO, recommendation, registry, rows


class Stored:
    """A database with accepted consultations of a fixed trio, each of three seats."""

    def __init__(self, url: str, site_key: str) -> None:
        self.url = url
        self.vault = Vault(SiteKey(site_key), 30)
        self.registry: Registry = registry()
        self.settings = Settings(_env_file=None)

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of one statement, if it has any."""
        return rows(self.url, statement, *values)

    def source(self, name: str) -> None:
        """Add a source that allows everything simulated."""
        self.ask("INSERT INTO sources (id, name, policy) VALUES (gen_random_uuid(), %s, %s)", name, "{}")

    def submit(self, n: int = 1, **order: Any) -> tuple[uuid.UUID, list[uuid.UUID]]:
        """A submission of n records; its id and its consultations' in the order of the records."""
        tag = new_id()
        lines = [
            json.dumps({"id": f"{tag}-{k}", "vignette": f"A man of seventy has had chest pain: {tag} {k}."})
            for k in range(n)
        ]
        asked = {"strategy": "FIXED", "models": TRIO, **order}
        with transaction(self.url) as session:
            receipt = accept(
                session,
                read_ndjson([line.encode() for line in lines]),
                Order(**asked),
                settings=self.settings,
                registry=self.registry,
                vault=self.vault,
            )
        rows = self.ask(
            "SELECT c.id FROM consultations c JOIN records r ON r.id = c.record_id "
            "WHERE c.submission_id = %s ORDER BY r.ordinal",
            receipt.submission_id,
        )
        return receipt.submission_id, [id_ for (id_,) in rows]

    def dispatch(self, *ids: uuid.UUID) -> None:
        """They are in flight."""
        self.ask(
            "UPDATE consultations SET dispatched_at = now(), progressed_at = now(), sent_at = now(), "
            "stage = 'generating', next_resume_at = now() + interval '1 hour' WHERE id = ANY(%s)",
            list(ids),
        )

    def fail(self, *ids: uuid.UUID, reason: str = "no_quorum", ago: str = "0 s") -> None:
        """They end as the workers end them, and their submissions finish where nothing is open."""
        self.ask(
            "UPDATE consultations SET state = 'failed', stage = 'ended', reason = %s, held = NULL, "
            "dispatched_at = coalesce(dispatched_at, now()), ended_at = now() - %s::interval "
            "WHERE id = ANY(%s)",
            reason,
            ago,
            list(ids),
        )
        self.ask(
            "UPDATE owed_answers SET state = 'void' WHERE state = 'owed' AND consultation_id = ANY(%s)",
            [*ids],
        )
        self.ask(
            "UPDATE submissions s SET state = 'finished', finished_at = now() WHERE state = 'open' AND NOT "
            "EXISTS (SELECT FROM consultations c WHERE c.submission_id = s.id AND c.state = 'open')"
        )

    def excuse(self, owed_id: uuid.UUID, reason: str = "unavailable", raw: str | None = None) -> None:
        """A seat's answer will not come; `raw`: the unreadable answer that is kept."""
        self.ask(
            "UPDATE owed_answers SET state = 'excused', reason = %s, tries = 4, claims = claims + 4, "
            "repair_of = %s WHERE id = %s",
            reason,
            None
            if raw is None
            else self.document(owed_id, json.dumps({"text": raw, "returned": None, "latency_s": 1})),
            owed_id,
        )

    def answer(self, owed_id: uuid.UUID) -> uuid.UUID:
        """A generation is there; its id."""
        raw, read = (
            self.document(owed_id, "{}"),
            self.document(owed_id, recommendation("aspirin"), "recommendation"),
        )
        generation = new_id()
        self.ask(
            "INSERT INTO generations (id, source_id, consultation_id, owed_answer_id, seat, occupancy, "
            "model_version_id, raw_document_id, document_id, decision, starts, stops) "
            "SELECT %s, source_id, consultation_id, id, seat, occupancy, model_version_id, %s, %s, "
            "'recommend', '{aspirin}', '{}' FROM owed_answers WHERE id = %s",
            *(generation, raw, read, owed_id),
        )
        self.ask(
            "UPDATE owed_answers SET state = 'answered', answer_id = %s, claims = claims + 1 WHERE id = %s",
            generation,
            owed_id,
        )
        return generation

    def call(self, owed_id: uuid.UUID, claim: int, cost: str | None, ago: str = "0 s") -> None:
        """A call was made for an owed answer, at this price; its consultation has spent it."""
        self.ask(
            "INSERT INTO model_calls (owed_answer_id, source_id, claim, model_version_id, started_at, "
            "ended_at, outcome, error_kind, status, cost_usd) SELECT id, source_id, %s, model_version_id, "
            "now() - %s::interval, now(), 'failed', 'unavailable', 503, %s FROM owed_answers WHERE id = %s",
            *(claim, ago, cost, owed_id),
        )
        self.ask(
            "UPDATE consultations SET spent_usd = spent_usd + coalesce(%s::numeric, 0) "
            "WHERE id = (SELECT consultation_id FROM owed_answers WHERE id = %s)",
            *(cost, owed_id),
        )

    def review(self, consultation: uuid.UUID, seat: int, about: uuid.UUID) -> uuid.UUID:
        """A review that is owed; its id."""
        id_ = new_id()
        self.ask(
            "INSERT INTO owed_answers (id, source_id, consultation_id, kind, seat, occupancy, about, "
            "model_version_id, prompt_id) SELECT %s, c.source_id, c.id, 'review', s.seat, s.occupancy, %s, "
            "s.model_version_id, c.review_prompt_id FROM consultations c "
            "JOIN seats s ON s.consultation_id = c.id AND s.seat = %s AND s.left_because IS NULL "
            "WHERE c.id = %s",
            *(id_, about, seat, consultation),
        )
        return id_

    def document(self, owed_id: uuid.UUID, text: str, kind: str = "raw_answer") -> uuid.UUID:
        """A sealed text of an owed answer's consultation; its id."""
        [(source, consultation, vignette)] = self.ask(
            "SELECT c.source_id, c.id, c.document_id FROM owed_answers o "
            "JOIN consultations c ON c.id = o.consultation_id WHERE o.id = %s",
            owed_id,
        )
        with transaction(self.url) as session:
            key, _ = self.vault.open_record(session, vignette)
            row = self.vault.sealed(key, kind, text, source_id=source, consultation_id=consultation)
            self.vault.store_many(session, [row])
        return uuid.UUID(str(row["id"]))

    def owed(self, consultation: uuid.UUID, kind: str = "generation") -> list[uuid.UUID]:
        """What it owes, by seat and occupancy."""
        rows = self.ask(
            "SELECT id FROM owed_answers WHERE consultation_id = %s AND kind = %s "
            "ORDER BY seat, occupancy, id",
            *(consultation, kind),
        )
        return [id_ for (id_,) in rows]

    def states(self, consultation: uuid.UUID, kind: str = "generation") -> list[str]:
        """Their states, in that order."""
        rows = self.ask(
            "SELECT state FROM owed_answers WHERE consultation_id = %s AND kind = %s "
            "ORDER BY seat, occupancy, id",
            *(consultation, kind),
        )
        return [state for (state,) in rows]

    def row(self, table: str, id_: uuid.UUID) -> dict[str, Any]:
        """A row as plain JSON."""
        [(found,)] = self.ask(f"SELECT to_jsonb(t) FROM {table} t WHERE id = %s", id_)
        return dict(found)

    def held(self, ids: Sequence[uuid.UUID]) -> list[str | None]:
        """What holds each of these."""
        rows = dict(self.ask("SELECT id, held FROM consultations WHERE id = ANY(%s)", list(ids)))
        return [rows[id_] for id_ in ids]

    def audited(self) -> list[tuple[str, str, str]]:
        """Who, what and which of every audit line in order, but for those of submissions coming in."""
        return [
            (who, what, which)
            for who, what, which in self.ask(
                "SELECT who, what, which FROM audit WHERE what <> 'submit' ORDER BY id"
            )
        ]
