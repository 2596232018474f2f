"""One consultation in full, for a person: what `consilium show` and the demo tell of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from db.queries import reports
from db.queries.documents import Vault
from shared.errors import ErasedError
from shared.schemas import Recommendation, Vignette

ERASED = "(erased)"


@dataclass(frozen=True, repr=False)
class Answer:
    """One seat: its label here, whose it was, and what it said."""

    label: str
    seat: int
    model: str
    returned: str | None
    family: str
    location: str
    simulated: bool
    state: str
    reason: str | None
    recommendation: Recommendation | None
    starts: Sequence[str]
    stops: Sequence[str]


@dataclass(frozen=True)
class Replaced:
    """Who sat before: the seat's letter, the model, and why it left."""

    label: str
    model: str
    reason: str


@dataclass(frozen=True, repr=False)
class Case:
    """A consultation with its texts opened. `grades[reviewer][author]` by seat; `critiques` likewise.

    `reviews`: as they were given, with the label and the position that each reviewer was shown.
    """

    row: dict[str, Any]
    vignette: Vignette | None
    answers: list[Answer]
    replaced: list[Replaced]
    grades: dict[tuple[int, int], float]
    critiques: dict[tuple[int, int], str]
    calls: Sequence[dict[str, Any]]
    reviews: Sequence[dict[str, Any]] = ()

    def label(self, seat: int) -> str:
        """The letter under which a seat is shown here (each reviewer saw labels of its own)."""
        return chr(ord("A") + seat)


def load_case(session: Session, vault: Vault, consultation_id: uuid.UUID) -> Case | None:
    """The consultation with all that is stored of it so far; None if there is no such row."""
    row = reports.consultation(session, consultation_id)
    if row is None:
        return None

    def opened(document_id: uuid.UUID | None) -> str | None:
        if document_id is None:
            return None
        try:
            return vault.open(session, document_id)
        except ErasedError:
            return None

    text = opened(row["document_id"])
    answers, replaced = [], []
    for seat in reports.seats(session, consultation_id):
        if seat["left_because"] is not None:
            label = chr(ord("A") + seat["seat"])
            replaced.append(Replaced(label, seat["name"], seat["left_because"]))
            continue
        said = opened(seat["document_id"])
        answers.append(
            Answer(
                label=chr(ord("A") + seat["seat"]),
                seat=seat["seat"],
                model=seat["name"],
                returned=seat["returned"],
                family=seat["family"],
                location=seat["location"],
                simulated=seat["simulated"],
                state=seat["state"],
                reason=seat["reason"],
                recommendation=Recommendation.model_validate_json(said) if said else None,
                starts=seat["starts"] or [],
                stops=seat["stops"] or [],
            )
        )
    reviews = reports.reviews(session, consultation_id)
    return Case(
        row=row,
        vignette=Vignette.model_validate(json.loads(text)) if text else None,
        answers=answers,
        replaced=replaced,
        grades={(r["reviewer"], r["author"]): r["grade"] for r in reviews},
        critiques={(r["reviewer"], r["author"]): opened(r["document_id"]) or ERASED for r in reviews},
        calls=reports.calls(session, consultation_id),
        reviews=reviews,
    )
