"""What a model is asked: the messages for one owed answer, rendered anew from the sealed record.

What is the patient's (the case, the answer under review, an answer to repair) comes into a prompt through one
function, `_Shown`: for a remote model it masks, by one table for the whole consultation.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from db.engine import Runs
from db.queries.documents import Vault
from db.queries.owed_answers import Claim, Look
from db.tables import Prompt as StoredPrompt
from shared import prompts
from shared.blind import render_answer
from shared.errors import UnreadableAnswer
from shared.masking import Mask, installed_finders
from shared.medications import ingredients
from shared.policy import Policy
from shared.reading import read_answer
from shared.registry import Model
from shared.review_design import slots
from shared.schemas import Recommendation, ReviewAnswer, Vignette
from shared.sealing import DataKey

IN_FORCE = {prompt.id: prompt for prompt in (prompts.GENERATE, prompts.REVIEW)}
"""By their ids, which are digests of them: what is at hand need not be read."""


@dataclass(frozen=True, repr=False)
class Question:
    """Messages and the schema of the answer; for a review, what the reviewer is shown.

    `key` seals what is stored of the answer; `raw` is a stored answer that is to be read instead of asking.
    """

    key: DataKey
    messages: list[prompts.Message]
    schema_name: str
    schema: dict[str, Any]
    current: frozenset[str]  # ingredients that the patient takes already
    label: str = ""
    position: int = 0
    scrubbed: int = 0
    shown_characters: int | None = None  # length of the answer as the reviewer sees it
    mask: Mask | None = None  # a remote model's: by it the answer is unmasked
    masked: int | None = None  # how many places of the messages were masked; None: they are not masked
    raw: str | None = None


def question_for(
    session: Runs, vault: Vault, seen: Look, claim: Claim, *, model: Model, names: Collection[str]
) -> Question:
    """The question of an owed answer to `model`; a repair of its unreadable answer where that is due.

    `names`: all that a model may call itself by. Raises `ErasedError`.
    """
    others = [id_ for id_ in (seen.about_document_id, claim.repair_of, claim.raw_id) if id_ is not None]
    key, texts = vault.open_record(session, seen.document_id, *others)
    vignette = Vignette.model_validate_json(texts[seen.document_id])
    prompt = _prompt(session, seen.prompt_id)
    shown = _Shown(vignette, model, Policy.model_validate(seen.policy))
    case = shown(prompts.render_case(vignette) if shown.mask is None else shown.mask.case)
    drugs = vault.site_key.digest("unknown drug")
    current = frozenset(
        code for taken in vignette.context.medications for code in ingredients(taken.name, key=drugs)
    )
    if seen.about_document_id is None:
        messages = prompts.generate_messages(prompt, case)
        question = Question(key, messages, "recommendation", prompt.schema, current)
    else:
        about = Recommendation.model_validate_json(texts[seen.about_document_id])
        question = _review(key, seen, prompt, case, about, shown, names, current)
    messages = question.messages
    if claim.repair_of is not None:
        raw = json.loads(texts[claim.repair_of])["text"]
        messages = prompts.repair_messages(messages, shown(raw), fault_of(raw, seen.kind))
    return replace(
        question,
        messages=messages,
        mask=shown.mask,
        masked=shown.masked,
        raw=None if claim.raw_id is None else texts[claim.raw_id],
    )


class _Shown:
    """What a model is shown of a text: all of it in the house, without who it is about outside."""

    def __init__(self, vignette: Vignette, model: Model, policy: Policy) -> None:
        mode = "strict" if policy.mask == "off" else policy.mask
        # with "off" there may still be an answer to read that was asked for with a mask
        self.mask = Mask.of(vignette, mode, installed_finders()) if model.location == "remote" else None
        self.masked: int | None = None if self.mask is None or policy.mask == "off" else 0

    def __call__(self, text: str) -> str:
        if self.mask is None or self.masked is None:
            return text
        done = self.mask.mask(text)
        self.masked += done.total
        return done.text


def fault_of(raw: str, kind: str) -> str:
    """Why a stored raw answer could not be read."""
    try:
        read_answer(raw, Recommendation if kind == "generation" else ReviewAnswer)
    except UnreadableAnswer as error:
        return error.fault
    return "it was not in the form asked for"  # readable by now: the parser has been mended since


def _review(
    key: DataKey,
    seen: Look,
    prompt: prompts.Prompt,
    case: str,
    about: Recommendation,
    shown: _Shown,
    names: Collection[str],
    current: frozenset[str],
) -> Question:
    """The answer as the reviewer sees it: re-rendered, scrubbed, labelled and fenced as drawn."""
    slot = next(s for s in slots(seen.seat, seen.reviewed, seen.seed) if s.item == seen.about_seat)
    rendered = render_answer(about, names)
    answer = shown(rendered.text)
    return Question(
        key,
        prompts.review_messages(prompt, case, answer, slot.label, slot.fence),
        "review",
        prompt.schema,
        current,
        slot.label,
        slot.position,
        rendered.removed,
        len(answer),
    )


def _prompt(session: Runs, prompt_id: str) -> prompts.Prompt:
    """The prompt that was fixed when the consultation was accepted, whatever is in force by now."""
    if (ours := IN_FORCE.get(prompt_id)) is not None:
        return ours
    of = StoredPrompt
    stored = select(of.id, of.kind, of.name, of.template, of.output_schema).where(of.id == prompt_id)
    return prompts.Prompt(*session.execute(stored).one())
