"""What the rivals of the figures share with the workers: statements, prompts, sealing, parsing.

Our own SQL (look; claim; raw answer, call and cost; answer, progress and result), each a transaction of its
own as in the workers. Who sends them, waits and calls is the rival's.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import TextClause

from db.engine import transaction
from db.ids import new_id
from db.queries import answers, documents, model_versions, owed_answers
from shared import prompts
from shared.blind import render_answer
from shared.reading import read_answer
from shared.registry import Model, Registry, lease_s, price
from shared.review_design import pairs, slots
from shared.schemas import Recommendation, ReviewAnswer, Vignette
from shared.sealing import DataKey, SiteKey
from shared.settings import get_settings

CONNECTIONS = 16
"""Connections that a rival keeps to PostgreSQL, as many as a worker."""


def sql(statement: TextClause) -> str:
    """A named statement of ours as psycopg takes it."""
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", statement.text.replace("%", "%%"))


LOOK, CLAIM, STORE_RAW, GENERATION, REVIEW, OWE, OPEN = map(
    sql,
    (
        owed_answers.LOOK,
        owed_answers.CLAIM,
        answers.STORE_RAW,
        answers.SETTLE_GENERATION,
        answers.SETTLE_REVIEW,
        owed_answers.OWE_REVIEWS,
        documents.OPEN,
    ),
)
OF_SUBMISSION = """
    SELECT c.id, c.seed, c.document_id, array_agg(o.id ORDER BY o.seat) AS owed
    FROM consultations c JOIN owed_answers o ON o.consultation_id = c.id
    WHERE c.submission_id = %s GROUP BY c.id, c.seed, c.document_id ORDER BY c.id
"""


@dataclass
class Case:
    """One consultation as a rival holds it in memory; `given`: seat → (generation's id, answer)."""

    id: uuid.UUID
    seed: int
    key: DataKey
    text: str
    given: dict[int, tuple[uuid.UUID, Recommendation]] = field(default_factory=dict)

    @classmethod
    def open(cls, row: Mapping[str, Any], sealed: Mapping[str, Any], site_key: SiteKey) -> Case:
        """A row of `OF_SUBMISSION` with its document, a row of `OPEN`."""
        key = site_key.unwrap(sealed["key_id"], sealed["wrapped"])
        vignette = Vignette.model_validate_json(key.open(sealed["ciphertext"], sealed["id"]))
        return cls(row["id"], row["seed"], key, prompts.render_case(vignette))

    def owe_reviews(self) -> tuple[dict[str, Any], list[tuple[uuid.UUID, int]]]:
        """The values of `OWE`, and of each owed review its id and whose answer it is about."""
        drawn = [(new_id(), *pair) for pair in pairs(sorted(self.given), k=4, seed=self.seed)]
        values = {
            "consultation_id": self.id,
            "ids": [owed for owed, _, _ in drawn],
            "seats": [reviewer for _, reviewer, _ in drawn],
            "abouts": [self.given[item][0] for _, _, item in drawn],
        }
        return values, [(owed, item) for owed, _, item in drawn]


class Owed:
    """One owed answer on its way; `item`: the seat whose answer is reviewed, `seen`: a row of `LOOK`."""

    def __init__(
        self, case: Case, owed: uuid.UUID, item: int | None, seen: Mapping[str, Any], registry: Registry
    ) -> None:
        self.case, self.id, self.item, self.seen = case, owed, item, seen
        self.model: Model = registry[seen["model"]]
        self.lease = {
            "id": owed,
            "holder": "rival",
            "lease_s": lease_s(self.model, get_settings()),
            "crashes_below": 2,
        }
        self._names = registry.names()
        self._shown: dict[str, Any] = {}

    def body(self) -> dict[str, Any]:
        """The request's."""
        case = self.case
        if self.item is None:
            prompt, name = prompts.GENERATE, "recommendation"
            messages = prompts.generate_messages(prompt, case.text)
        else:
            prompt, name = prompts.REVIEW, "review"
            others = case.given.keys() - {self.seen["seat"]}
            slot = next(s for s in slots(self.seen["seat"], others, case.seed) if s.item == self.item)
            rendered = render_answer(case.given[self.item][1], self._names)
            messages = prompts.review_messages(prompt, case.text, rendered.text, slot.label, slot.fence)
            self._shown = {
                "label": slot.label,
                "position": slot.position,
                "shown_characters": len(rendered.text),
            }
        return {
            **self.model.parameters,
            "model": self.model.model,
            "messages": messages,
            "seed": case.seed % 2**31,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": name, "schema": prompt.schema},
            },
        }

    def raw(self, claim: int, envelope: Mapping[str, Any], latency_s: float) -> dict[str, Any]:
        """The values of `STORE_RAW` for what was answered."""
        used = envelope["usage"]
        self._text, self._returned = envelope["choices"][0]["message"]["content"], envelope["model"]
        self._raw_id, self._latency_s = new_id(), latency_s
        self._of = {
            "id": self.id,
            "claim": claim,
            "source_id": self.seen["source_id"],
            "consultation_id": self.case.id,
            "key_id": self.case.key.id,
            "retention_days": 30,
        }
        raw = json.dumps({"text": self._text, "returned": self._returned, "latency_s": latency_s})
        return {
            **self._of,
            "document_id": self._raw_id,
            "kind": "raw_answer",
            "ciphertext": self.case.key.seal(raw, self._raw_id),
            "model": self.model.name,
            "error_kind": None,
            "masked": None,
            "status": 200,
            "prompt_tokens": used["prompt_tokens"],
            "completion_tokens": used["completion_tokens"],
            "cost_usd": price(self.model, used["prompt_tokens"], used["completion_tokens"]),
        }

    def settle(self) -> tuple[str, dict[str, Any], Recommendation | ReviewAnswer]:
        """The statement and its values that end it, and what was read; a generation is put into the case."""
        schema: type[Recommendation | ReviewAnswer] = Recommendation if self.item is None else ReviewAnswer
        parsed = read_answer(self._text, schema)
        answer_id, document_id = new_id(), new_id()
        if isinstance(parsed, Recommendation):
            self.case.given[self.seen["seat"]] = (answer_id, parsed)
            said, kind = parsed.model_dump_json(), "recommendation"
            read = {"decision": parsed.decision, "starts": [], "stops": []}
        else:
            said, kind = parsed.critique, "critique"
            read = {**self._shown, "grade": parsed.grade, "scrubbed": 0}
        values = {
            **self._of,
            **read,
            "document_id": document_id,
            "kind": kind,
            "ciphertext": self.case.key.seal(said, document_id),
            "answer_id": answer_id,
            "raw_id": self._raw_id,
            "latency_s": self._latency_s,
            "provider": self.model.provider,
            "name": self.model.name,
            "parameters_digest": self.model.parameters_digest,
            "returned": self._returned,
        }
        return GENERATION if self.item is None else REVIEW, values, parsed

    def ensure_version(self) -> None:
        """Store the version that answered: the first answer of it needs that, then settles again."""
        with transaction(get_settings().require_database()) as session:
            model_versions.ensure_version(session, self.model, self._returned)
