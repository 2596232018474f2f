"""What a model is asked: the messages for one owed answer, rendered anew from the sealed record."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries.documents import Vault
from db.queries.owed_answers import Claim, Look
from db.tables import Prompt as StoredPrompt
from shared import prompts
from shared.blind import render_answer
from shared.errors import UnreadableAnswer
from shared.medications import ingredients
from shared.reading import read_answer
from shared.review_design import slots
from shared.schemas import Recommendation, ReviewAnswer, Vignette

# What this reviewer is to review, and which of it the owed answer is about.
REVIEWED = text("""
    SELECT g.id, g.seat, g.document_id
    FROM owed_answers o JOIN generations g ON g.id = o.about AND g.source_id = o.source_id
    WHERE o.consultation_id = :consultation_id AND o.kind = 'review' AND o.seat = :seat AND o.state <> 'void'
""")


@dataclass(frozen=True, repr=False)
class Question:
    """Messages and the schema of the answer; for a review, what the reviewer is shown."""

    messages: list[prompts.Message]
    schema_name: str
    schema: dict[str, Any]
    current: frozenset[str]  # ingredients that the patient takes already
    label: str = ""
    position: int = 0
    scrubbed: int = 0
    shown_characters: int | None = None  # length of the answer as the reviewer sees it


def question_for(
    session: Session, vault: Vault, seen: Look, claim: Claim, *, names: Collection[str]
) -> Question:
    """The question for an owed answer; a repair of its unreadable answer where that is due.

    `names`: all that a model may call itself by. Raises `ErasedError`.
    """
    vignette = Vignette.model_validate_json(vault.open(session, seen.document_id))
    prompt = _prompt(session, seen.prompt_id)
    case = prompts.render_case(vignette)
    key = vault.site_key.digest("unknown drug")
    current = frozenset(
        code for taken in vignette.context.medications for code in ingredients(taken.name, key=key)
    )
    if seen.kind == "generation":
        question = Question(prompts.generate_messages(prompt, case), "recommendation", prompt.schema, current)
    else:
        question = _review(session, vault, seen, prompt, case, names, current)
    if claim.repair_of is None:
        return question
    raw = json.loads(vault.open(session, claim.repair_of))["text"]
    repair = prompts.repair_messages(question.messages, raw, fault_of(raw, seen.kind))
    return replace(question, messages=repair)


def fault_of(raw: str, kind: str) -> str:
    """Why a stored raw answer could not be read."""
    try:
        read_answer(raw, Recommendation if kind == "generation" else ReviewAnswer)
    except UnreadableAnswer as error:
        return error.fault
    return "it was not in the form asked for"  # readable by now: the parser has been mended since


def _review(
    session: Session,
    vault: Vault,
    seen: Look,
    prompt: prompts.Prompt,
    case: str,
    names: Collection[str],
    current: frozenset[str],
) -> Question:
    """The answer as the reviewer sees it: re-rendered, scrubbed, labelled and fenced as drawn."""
    rows = session.execute(REVIEWED, {"consultation_id": seen.consultation_id, "seat": seen.seat}).all()
    item, document_id = next((row.seat, row.document_id) for row in rows if row.id == seen.about)
    slot = next(s for s in slots(seen.seat, (row.seat for row in rows), seen.seed) if s.item == item)
    recommendation = Recommendation.model_validate_json(vault.open(session, document_id))
    rendered = render_answer(recommendation, names)
    return Question(
        prompts.review_messages(prompt, case, rendered.text, slot.label, slot.fence),
        "review",
        prompt.schema,
        current,
        slot.label,
        slot.position,
        rendered.removed,
        len(rendered.text),
    )


def _prompt(session: Session, prompt_id: str) -> prompts.Prompt:
    """The prompt that was fixed when the consultation was accepted, whatever is in force by now."""
    stored = session.get_one(StoredPrompt, prompt_id)
    return prompts.Prompt(stored.id, stored.kind, stored.name, stored.template, stored.output_schema)
