"""Single consultations with their trace, and what turned out to be right."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field, PlainSerializer

from producers.api.access import Reading
from producers.api.problems import documented, not_found
from producers.case import Case, Replaced, load_case
from producers.case_lists import drugs_of, lists_of, reason
from shared.refinement import Edit, Terms, in_words
from shared.safety.finding import Finding
from shared.schemas import Recommendation, Vignette

router = APIRouter(tags=["consultations"])
Usd = Annotated[Decimal, PlainSerializer(lambda value: f"{value:f}", return_type=str)]  # never 0E-8


class Lists(BaseModel):
    """The lists, each made from the one before; ingredients."""

    highest_graded: list[str] = Field(description="Of the answer with the best consensus grade.")
    majority: list[str] = Field(description="What most seats name, each vote weighed.")
    screened: list[str] | None = Field(
        None, description="The majority's without what is ruled out for this patient, where that differs."
    )
    refined: list[str] = Field(description="The recommendation.")


class Drug(BaseModel):
    """One drug that anybody proposed."""

    drug: str = Field(description="Ingredient.", examples=["apixaban"])
    lists: list[str] = Field(description="The lists that hold it.")
    support: float | None = Field(description="P(it belongs), 0 to 1.")
    proposed_by: list[str] = Field(
        description="Labels of the seats that would start it.", examples=[["A", "B"]]
    )
    minority: bool
    unknown: bool = Field(description="Not a drug that we know: looked at by no safety rule.")


class Step(BaseModel):
    """One edit from the majority's list to the refined one."""

    in_words: str = Field(examples=["ibuprofen removed: with warfarin, major bleeding (FDA label)"])
    kind: Literal["removed", "added", "exchanged"]
    removed: list[str]
    added: list[str]
    gain: Terms = Field(description="What the utility gains, by term.")
    because: list[Finding]


class Concluded(BaseModel):
    """What came of it."""

    lists: Lists
    stop: list[str] = Field(description="Ingredients to stop.")
    minority: list[str]
    drugs: list[Drug]
    steps: list[Step]
    findings: list[Finding] = Field(description="What the safety rules find with the refined list.")
    method: str | None = Field(description="How it was refined: exact, climbed; null: it was not.")
    grade: float | None = Field(description="Consensus grade of the best answer, 0 to 1.")
    variance: float | None
    agreement: float | None = Field(description="Mean pairwise Jaccard of the seats' lists, 0 to 1.")
    confidence: float | None = Field(description="P(the list is right), calibrated; null: not known.")
    form: str = Field(description="Of the consensus.")
    rule: str | None = Field(description="The rule by which a person must look.", examples=["severe_finding"])
    rule_in_words: str | None = Field(examples=["a finding of the highest severity remains"])


class Seat(BaseModel):
    """One model of the ensemble, and what it answered."""

    label: str = Field(description="A, B, …: its name within this answer.")
    model: str = Field(examples=["oak-large"])
    returned: str | None = Field(description="What the provider said it was.", examples=["oak-large-2026-06"])
    family: str = Field(examples=["oak"])
    location: str = Field(examples=["remote"])
    simulated: bool
    state: str = Field(description="Of its answer: owed, answered, excused or void.")
    reason: str | None
    grade: float | None = Field(description="Consensus grade of its answer, 0 to 1.")
    reliability: float | None = Field(description="As a reviewer.")
    recommendation: Recommendation | None = Field(description="As it wrote it; null: none, or erased.")
    starts: list[str] = Field(description="Ingredients that it would start.")
    stops: list[str]


class Review(BaseModel):
    """One grade. Reviewers saw neither names nor these labels, but labels of their own in an own order."""

    reviewer: str = Field(examples=["A"])
    author: str = Field(examples=["B"])
    grade: float = Field(ge=0, le=1)
    shown_as: str = Field(description="The label that the reviewer saw.")
    position: int = Field(description="Where it stood before the reviewer, from 1.")
    critique: str
    seconds: float | None


class Call(BaseModel):
    """One call to a model."""

    kind: Literal["generation", "review"]
    by: str = Field(description="Label of the seat.", examples=["A"])
    about: str | None = Field(description="Label of the seat whose answer is reviewed.")
    model: str
    claim: int = Field(description="1: the first call for this answer.")
    started_at: datetime
    seconds: float | None
    outcome: str | None = Field(description="null: it is in flight.")
    error_kind: str | None
    status: int | None = Field(description="Of HTTP.")
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: Usd | None = Field(description="null: not known.")


class Consultation(BaseModel):
    """One record's consultation in full."""

    id: uuid.UUID
    submission: uuid.UUID
    state: Literal["open", "completed", "needs_review", "failed", "cancelled"]
    stage: Literal["waiting", "generating", "reviewing", "concluding", "ended"]
    reason: str | None
    held: str | None = Field(description="What it waits for, other than its turn.")
    kind: str
    purpose: str
    protocol: str
    strategy: str
    n: int
    seed: int
    draw_probability: float | None = Field(description="Of this ensemble by this strategy.")
    accepted_at: datetime
    deadline_at: datetime | None
    ended_at: datetime | None
    spent_usd: Usd = Field(description="Of calls of known cost.")
    record: Vignette | None = Field(description="As it was sent; null: erased.")
    concluded: Concluded | None = Field(description="null: not yet, or failed.")
    seats: list[Seat]
    replaced: list[Replaced] = Field(description="Models that sat before, and why they left.")
    reviews: list[Review]
    calls: list[Call]


@router.get(
    "/consultations/{consultation_id}",
    response_model=Consultation,
    responses=documented(401, 403, 404, 422),
)
def consultation(desk: Reading, consultation_id: uuid.UUID) -> Consultation:
    """A consultation with its lists, findings, edits, answers, grades and calls, as far as it has come."""
    with desk.read() as session:
        case = load_case(session, desk.site.vault, consultation_id)
    if case is None:
        raise not_found()
    desk.audit("consultation.read", str(consultation_id))
    row = case.row
    columns = Consultation.model_fields.keys() & row.keys()
    return Consultation(
        **{name: row[name] for name in columns},
        submission=row["submission_id"],
        record=case.vignette,
        concluded=_concluded(case) if row["refined"] is not None else None,
        seats=list(_seats(case)),
        replaced=case.replaced,
        reviews=[_review(case, one) for one in case.reviews],
        calls=[_call(case, one) for one in case.calls],
    )


def _concluded(case: Case) -> Concluded:
    row = case.row
    columns = Concluded.model_fields.keys() & row.keys()
    return Concluded(
        **{name: row[name] for name in columns},
        lists=Lists(**lists_of(case)),
        stop=row["stops"],
        drugs=[Drug(**drug) for drug in drugs_of(case)],
        steps=[_step(step) for step in row["trace"]],
        rule_in_words=reason(row["rule"]) if row["rule"] else None,
    )


def _step(step: dict[str, Any]) -> Step:
    edit = Edit.from_json(step)
    fields = Step.model_fields.keys() - {"in_words"}
    return Step(in_words=in_words(edit), **{name: getattr(edit, name) for name in fields})


def _seats(case: Case) -> list[Seat]:
    detail = case.row["detail"] or {"answers": {}, "reviewers": {}}
    return [
        Seat(
            **{name: getattr(answer, name) for name in Seat.model_fields.keys() & vars(answer).keys()},
            grade=detail["answers"].get(str(answer.seat), {}).get("grade"),
            reliability=detail["reviewers"].get(str(answer.seat), {}).get("reliability"),
        )
        for answer in case.answers
    ]


def _review(case: Case, row: dict[str, Any]) -> Review:
    return Review(
        reviewer=case.label(row["reviewer"]),
        author=case.label(row["author"]),
        grade=row["grade"],
        shown_as=row["label"],
        position=row["position"],
        critique=case.critiques[row["reviewer"], row["author"]],
        seconds=row["latency_s"],
    )


def _call(case: Case, row: dict[str, Any]) -> Call:
    about = row["about_seat"]
    return Call(
        **{name: row[name] for name in Call.model_fields.keys() & row.keys()},
        by=case.label(row["seat"]),
        about=None if about is None else case.label(about),
    )
