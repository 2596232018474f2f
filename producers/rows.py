"""The rows of one record of a batch: what is stored of a vignette that is accepted, or set aside."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from db.ids import new_id
from db.queries.documents import Vault
from db.tables import Base, ClinicalDocument, Consultation, DataKey, Outcome, OwedAnswer, Record, Seat
from producers.readers.record import Read
from shared.errors import RecordError
from shared.expected_cost import expected_usd
from shared.measures import DEFINITION, in_codes
from shared.registry import Registry, stall_s
from shared.schemas import Vignette
from shared.selection import Draw
from shared.settings import Settings

Row = tuple[type[Base], dict[str, Any]]
"""A table and the values of one row of it."""

TABLES: tuple[type[Base], ...] = (DataKey, ClinicalDocument, Record, Consultation, Seat, OwedAnswer, Outcome)
"""In the order in which they refer to each other."""


@dataclass(frozen=True)
class Rows:
    """Makes the rows of one submission's records."""

    source_id: uuid.UUID
    submission_id: uuid.UUID
    seed: int  # of the batch
    fixed: Mapping[str, Any]  # columns that all its consultations share
    versions: Mapping[str, uuid.UUID]  # model → the version that a seat is given to
    draw: Callable[[int, str], Draw]  # seed, kind of task
    settings: Settings
    registry: Registry
    vault: Vault

    def accepted(
        self, read: Read, vignette: Vignette, ordinal: int, own_id_digest: bytes | None
    ) -> Iterator[Row]:
        """The sealed vignette, its consultation with the drawn seats, and the generations they owe."""
        of_source = {"source_id": self.source_id}
        record_id, consultation_id = new_id(), new_id()
        key, key_row = self.vault.new_key(self.source_id)
        yield DataKey, key_row
        text = vignette.model_dump_json(exclude={"gold"}, exclude_none=True)
        document = self.vault.sealed(key, "vignette", text, **of_source, consultation_id=consultation_id)
        yield ClinicalDocument, document
        yield (
            Record,
            {
                "id": record_id,
                **of_source,
                "submission_id": self.submission_id,
                "ordinal": ordinal,
                "line": read.line,
                "state": "accepted",
                "own_id_digest": own_id_digest,
                "document_id": document["id"],
            },
        )
        seed = _derive(self.seed, ordinal)
        drawn = self.draw(seed, vignette.kind)
        models = [self.registry[name] for name in drawn.models]
        yield (
            Consultation,
            {
                "id": consultation_id,
                **of_source,
                "submission_id": self.submission_id,
                "record_id": record_id,
                "document_id": document["id"],
                "vignette_digest": self.vault.site_key.digest("vignette", vignette.vignette),
                "kind": vignette.kind,
                "seed": seed,
                "strategy": drawn.strategy,
                "explored": drawn.explored,
                "draw_probability": drawn.probability,
                "allowed": list(drawn.allowed),
                "stall_s": stall_s(models, self.settings),
                # what is stored is as long as what is shown, near enough, and is at hand
                "expected_usd": expected_usd(
                    models, len(text), reviews_per_answer=self.settings.reviews_per_answer
                ),
                **self.fixed,
            },
        )
        for seat, model in enumerate(models):
            held_by = {
                **of_source,
                "consultation_id": consultation_id,
                "seat": seat,
                "model_version_id": self.versions[model.name],
            }
            yield Seat, held_by
            yield (
                OwedAnswer,
                {
                    "id": new_id(),
                    **held_by,
                    "kind": "generation",
                    "prompt_id": self.fixed["generate_prompt_id"],
                },
            )
        if vignette.gold is not None:
            yield (
                Outcome,
                {
                    "id": new_id(),
                    **of_source,
                    "consultation_id": consultation_id,
                    "kind": "gold",
                    "definition": DEFINITION,
                    "gold": in_codes(vignette.gold, self.vault.site_key.digest("unknown drug")).model_dump(),
                },
            )

    def set_aside(self, read: Read, ordinal: int, error: RecordError) -> Iterator[Row]:
        """What could not be accepted, sealed, with our words for why."""
        key, key_row = self.vault.new_key(self.source_id)
        yield DataKey, key_row
        document = self.vault.sealed(key, "set_aside", read.sent(), source_id=self.source_id)
        yield ClinicalDocument, document
        yield (
            Record,
            {
                "id": new_id(),
                "source_id": self.source_id,
                "submission_id": self.submission_id,
                "ordinal": ordinal,
                "line": read.line,
                "state": "set_aside",
                "document_id": document["id"],
                "error_code": error.code,
                "error_path": error.path[:200],
                "error_reason": error.reason[:300],
            },
        )


def _derive(seed: int, ordinal: int) -> int:
    """The seed of one consultation: 63 bits from the batch's seed and the record's place in it."""
    digest = hashlib.sha256(json.dumps([seed, ordinal]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
