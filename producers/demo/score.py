"""How the council did against its own members, case by case. Models are simulated; gold is the vignettes'."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from db.queries import reports
from db.queries.documents import Vault
from producers.case import Case, load_case
from shared.measures import f1, right
from shared.schemas import Gold


@dataclass(frozen=True, repr=False)
class Scored:
    """One case with its measures against gold; None where it has no consensus."""

    case: Case
    name: str
    state: str
    reason: str | None
    council: tuple[str, ...] | None
    council_right: bool | None
    council_f1: float | None
    members_right: int
    members: int  # seats that answered
    best_member: str = ""
    best_member_f1: float | None = None

    @property
    def against_best_member(self) -> str:
        """`better`, `equal` or `worse` than the best member (F1 against gold)."""
        if self.council_f1 is None or self.best_member_f1 is None:
            return "no consensus"
        difference = self.council_f1 - self.best_member_f1
        return "equal" if abs(difference) < 1e-9 else ("better" if difference > 0 else "worse")


def score(session: Session, vault: Vault, submission_id: uuid.UUID) -> list[Scored]:
    """All cases of a submission, in the order of the input.

    A case's best member is the one of its seats whose model has the best mean F1 over the other cases: what
    one could have asked instead of the council, without looking at this case.
    """
    scored = []
    f1_of: dict[str, dict[str, float]] = {}  # model → case → F1
    for row in reports.results(session, submission_id):
        if row["consultation"] is None:
            continue
        case = load_case(session, vault, row["consultation"])
        if case is None or case.vignette is None or row["gold"] is None:
            continue
        gold = Gold.model_validate(row["gold"])
        members = [a for a in case.answers if a.state == "answered"]
        for answer in members:
            f1_of.setdefault(answer.model, {})[case.vignette.id] = f1(answer.starts, gold)
        council = None if row["refined"] is None else tuple(row["refined"])
        scored.append(
            Scored(
                case=case,
                name=case.vignette.id,
                state=row["state"],
                reason=row["rule"] or row["reason"],
                council=council,
                council_right=None if council is None else right(council, gold),
                council_f1=None if council is None else f1(council, gold),
                members_right=sum(right(a.starts, gold) for a in members),
                members=len(members),
            )
        )
    return [_with_best_member(one, f1_of) for one in scored]


def _with_best_member(one: Scored, f1_of: dict[str, dict[str, float]]) -> Scored:
    def elsewhere(model: str) -> float:
        others = [value for case, value in f1_of[model].items() if case != one.name]
        return sum(others) / len(others) if others else 0.0

    seated = [a.model for a in one.case.answers if a.state == "answered"]
    if not seated:
        return one
    best = max(seated, key=lambda model: (elsewhere(model), model))
    return replace(one, best_member=best, best_member_f1=f1_of[best][one.name])
