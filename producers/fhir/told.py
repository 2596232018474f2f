"""What of a result stands in sealed documents: whose it is, and how each answer would give its drugs."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from db.queries.documents import Vault
from db.queries.proposals import proposals
from producers.fhir.result import resources_of
from shared.medications import ingredients
from shared.schemas import Medication, Recommendation, Vignette

CHUNK = 200
"""Consultations whose texts are held open at once."""


@dataclass(frozen=True, repr=False)
class Answer:
    """One seat's answer."""

    model: str  # as models.toml names it
    version: str | None  # as its provider returned it
    grade: float | None  # by consensus, in [0, 1]
    starts: Mapping[str, Medication]  # ingredient code → as the model wrote it
    stops: Mapping[str, Medication]

    @classmethod
    def of(cls, said: Recommendation, key: bytes, **rest: Any) -> Answer:
        """The answer; `key` is that under which unknown drugs are stored."""
        by_action: dict[str, dict[str, Medication]] = {"start": {}, "continue": {}, "stop": {}}
        for drug in said.medications:
            for code in ingredients(drug.name, key=key):
                by_action[drug.action].setdefault(code, drug)
        return cls(starts=by_action["start"], stops=by_action["stop"], **rest)


@dataclass(frozen=True, repr=False)
class Told:
    """A concluded consultation with its texts opened; answers in order of their grade, the best first."""

    vignette: Vignette
    answers: Sequence[Answer]
    concluded_at: dt.datetime
    form: str  # of the consensus, e.g. "memory"


def opened(session: Session, vault: Vault, consultations: Sequence[uuid.UUID]) -> dict[uuid.UUID, Told]:
    """By consultation, for those that are concluded and not erased."""
    found = proposals(session, consultations)
    documents = [row.document_id for row in found.values()]
    documents += [uuid.UUID(each["document"]) for row in found.values() for each in row.answers or ()]
    texts = vault.open_all(session, documents)
    key = vault.site_key.digest("unknown drug")

    def answers(row: Any) -> Iterator[Answer]:
        for each in row.answers or ():
            said = texts.get(uuid.UUID(each["document"]))
            if said is not None:
                yield Answer.of(
                    Recommendation.model_validate_json(said),
                    key,
                    model=each["model"],
                    version=each["version"],
                    grade=each["grade"],
                )

    return {
        id_: Told(
            Vignette.model_validate_json(texts[row.document_id]),
            sorted(answers(row), key=lambda each: -(each.grade or 0.0)),
            row.concluded_at,
            row.form,
        )
        for id_, row in found.items()
        if row.document_id in texts
    }


def resources(
    session: Session, vault: Vault, rows: Iterable[Mapping[str, Any]], types: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """The resources of these results, lazily, record by record in their order; texts of 200 are held at once.

    `rows` as `producers.results.pages` gives them. `types`: only these resource types, e.g.
    ("OperationOutcome",). A row that is still open gives nothing.
    """
    waiting = iter(rows)
    while chunk := list(itertools.islice(waiting, CHUNK)):
        ids = [uuid.UUID(row["consultation"]) if row["consultation"] else None for row in chunk]
        known = opened(session, vault, [id_ for id_ in ids if id_])
        for row, id_ in zip(chunk, ids, strict=True):
            for resource in resources_of(row, known.get(id_) if id_ else None):
                if not types or resource["resourceType"] in types:
                    yield resource
