"""From stored rows to measures (algorithms, section 5). Of the sealed texts only age and sex leave."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from db.queries import conclusions, evaluation_rows, evaluations
from db.queries.conclusions import Evidence, StoredConclusion
from db.queries.documents import Vault
from producers.again import Again, Changed
from producers.evaluation.listed import Listed, listed
from producers.evaluation.measured import Measured
from producers.evaluation.spec import TRAINING
from shared.measures import f1, jaccard, precision_recall, right
from shared.schemas import Gold

LISTS = ("highest_graded", "majority", "refined")
DIALS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""λ of the safety–accuracy curve."""
Lists = tuple[dict[str, Listed], dict[float, Listed]]
"""Of one consultation: by name, and as refined by λ."""
_NO_CALLS = {"retries": 0, "model_s": 0.0, "cost_usd": 0.0}


def measured(session: Session, evaluation_id: uuid.UUID, vault: Vault) -> list[Measured]:
    """Every consultation of an evaluation that has gold, by arm, repeat and case."""
    rows = evaluation_rows.consultations(session, evaluation_id, TRAINING)
    answers: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for row in evaluation_rows.generations(session, evaluation_id, TRAINING):
        answers.setdefault(row["consultation_id"], []).append(row)
    replaced = evaluation_rows.substitutions(session, evaluation_id, TRAINING)
    calls = evaluation_rows.calls(session, evaluation_id, TRAINING)
    families = {arm[0]: arm[3] for arm in evaluations.by_id(session, evaluation_id)["spec"]["arms"]}
    people = _people(session, vault, rows)
    golds = {row["id"]: Gold.model_validate(row["gold"]) for row in rows if row["gold"] is not None}
    lists = _lists(session, evaluation_id, golds)
    return [
        _measured(
            row,
            answers.get(row["id"], []),
            calls.get(row["id"], _NO_CALLS),
            replaced.get(row["id"], 0),
            families[row["arm"]],
            people.get(row["vignette_digest"], (None, None)),
            golds[row["id"]],
            lists.get(row["id"], ({}, {})),
        )
        for row in rows
        if row["id"] in golds
    ]


def top_hit(given: Collection[str], support: Mapping[str, float], gold: Gold) -> bool:
    """Whether the drug of the list with the highest support is a right one; ties go by name.

    An empty list hits where nothing is required; where nothing is required, acceptable drugs are right ones.
    """
    if not given:
        return not gold.required
    top = min(given, key=lambda drug: (-support.get(drug, 0.0), drug))
    return top in (
        {drug for item in gold.required for drug in item.any_of} if gold.required else gold.acceptable
    )


def nearest_jaccard(given: Collection[str], gold: Gold) -> float:
    """Jaccard against gold, with the best matching alternative of each required item, in [0, 1].

    Acceptable drugs count neither for nor against, as in precision and recall.
    """
    drugs = {drug for drug in given if drug not in gold.acceptable}
    drugs |= {drug for item in gold.required for drug in item.any_of if drug in given}
    chosen: set[frozenset[str]] = {frozenset()}  # sets, not sequences: as few as the list has drugs to choose
    for item in gold.required:
        options = drugs & set(item.any_of) or set(item.any_of[:1])
        chosen = {others | {drug} for others in chosen for drug in options}
    return max(jaccard(drugs, best) for best in chosen)


def _measured(
    row: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
    calls: Mapping[str, Any],
    substitutions: int,
    families: str,
    person: tuple[float | None, str | None],
    gold: Gold,
    lists: Lists,
) -> Measured:
    given: list[str] | None = row["refined"] if row["concluded"] else None
    precision, recall = (None, None) if given is None else precision_recall(given, gold)
    wall_s: float | None = row["wall_s"]
    generation_s = max((a["after_s"] for a in answers if a["after_s"] is not None), default=None)
    return Measured(
        arm=row["arm"],
        strategy=row["asked"],
        drawn_as=row["strategy"],
        n=row["n"],
        families=families,
        repeat=row["repeat"],
        vignette=row["vignette_digest"].hex()[:16],
        case=row["ordinal"],
        kind=row["kind"],
        age=person[0],
        sex=person[1],
        state=row["state"],
        reason=row["rule"] or row["reason"],
        right=None if given is None else right(given, gold),
        jaccard=None if given is None else nearest_jaccard(given, gold),
        precision=precision,
        recall=recall,
        f1=None if given is None else f1(given, gold),
        top_hit=None if given is None else top_hit(given, row["support"] or {}, gold),
        list_size=None if given is None else len(given),
        lists=lists[0],
        curve=lists[1],
        grade=row["grade"],
        variance=row["variance"],
        agreement=row["agreement"],
        confidence=row["confidence"],
        seats_right=sum(right(a["starts"], gold) for a in answers),
        seats_answered=len(answers),
        substitutions=substitutions,
        retries=calls["retries"],
        wall_s=wall_s,
        generation_s=generation_s,
        review_s=None if wall_s is None or generation_s is None else max(wall_s - generation_s, 0.0),
        model_s=calls["model_s"],
        cost_usd=calls["cost_usd"],
        models=tuple(a["model"] for a in answers),
        probability=row["draw_probability"],
        explored=row["explored"],
    )


def _lists(
    session: Session, evaluation_id: uuid.UUID, golds: Mapping[uuid.UUID, Gold]
) -> dict[uuid.UUID, Lists]:
    """Every list of each conclusion: as stored, refined without the grades' say, and refined by each λ."""
    again = Again(session)
    found = {}
    for (arm, _), submission in evaluations.submissions(session, evaluation_id).items():
        if arm == TRAINING:
            continue
        for one, said in again.evidence(conclusions.stored(session, submission)):
            if one.consultation_id in golds:
                found[one.consultation_id] = _lists_of(one, said, golds[one.consultation_id], again)
    return found


def _lists_of(one: StoredConclusion, said: Evidence, gold: Gold, again: Again) -> Lists:
    problem = one.problem
    stored = {name: listed(one.columns[name], gold, problem) for name in LISTS}
    if problem is None:
        return stored, {}

    def refined(changed: Changed) -> Listed:
        return listed(again.conclude(one, said, changed).refined, gold, problem)

    screened = listed(one.columns["refinement"]["screened"], gold, problem)
    ungraded = refined(Changed(gamma=0.0))
    curve = {dial: refined(Changed(severity=dial)) for dial in DIALS}
    return {**stored, "screened": screened, "ungraded": ungraded}, curve


def _people(
    session: Session, vault: Vault, rows: Sequence[Mapping[str, Any]]
) -> dict[bytes, tuple[float | None, str | None]]:
    """Age and sex by vignette, from one sealed document each; those whose key is gone are left out."""
    documents = {row["document_id"]: row["vignette_digest"] for row in rows if row["repeat"] == 1}
    one_each = {digest: document for document, digest in documents.items()}
    people = {}
    for document, text in vault.open_all(session, list(one_each.values())).items():
        context = json.loads(text).get("context", {})
        people[documents[document]] = (context.get("age"), context.get("sex"))
    return people
