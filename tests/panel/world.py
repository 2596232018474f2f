"""Shared by the panel's tests: prompts as the product writes them, gold in definition list-1, trios."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import combinations
from pathlib import Path

from panel.answering import Belief, believe
from panel.case import Case, read_case
from panel.models import MODELS
from shared.schemas import Gold, Recommendation, ReviewAnswer, Vignette

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / "shared" / "prompts"
FENCE = "0123456789abcdef"


@cache
def vignettes() -> tuple[Vignette, ...]:
    """The examples, in order."""
    lines = (ROOT / "examples" / "vignettes.ndjson").read_text(encoding="utf-8").splitlines()
    return tuple(Vignette.model_validate_json(line) for line in lines)


def rendered(vignette: Vignette, *, structured: bool = True) -> str:
    """The case as prompts show it; without `structured`, the sentences alone."""
    context, lines = vignette.context, [vignette.vignette]
    if structured:
        lines.append("")
        if context.age is not None:
            lines.append(f"Age: {context.age:g} years")
        if context.sex:
            lines.append(f"Sex: {context.sex}")
        if context.conditions:
            lines.append(f"Conditions: {'; '.join(context.conditions)}")
        if context.allergies:
            lines.append(f"Allergies: {'; '.join(context.allergies)}")
        if context.medications:
            drugs = (f"{m.name} {m.dose or ''}".strip() for m in context.medications)
            lines.append(f"Current medications: {'; '.join(drugs)}")
        if context.pregnant is not None:
            lines.append(f"Pregnant: {'yes' if context.pregnant else 'no'}")
        if context.egfr is not None:
            lines.append(f"eGFR: {context.egfr:g} mL/min/1.73 m²")
    return "\n".join(lines)


def messages(template: str, **values: str) -> list[dict[str, str]]:
    """The messages of a prompt template with its `$values` filled in."""
    text = (PROMPTS / template).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"${name}", value)
    parts = re.split(r"^\[(system|user)\]\n", text, flags=re.MULTILINE)[1:]
    return [
        {"role": role, "content": body.strip()} for role, body in zip(parts[::2], parts[1::2], strict=True)
    ]


def generate_body(model: str, case: str) -> dict[str, object]:
    """A request for a recommendation."""
    schema = Recommendation.model_json_schema()
    return {
        "model": model,
        "messages": messages("generate.v1.txt", case=case, schema=json.dumps(schema)),
        "temperature": 0.2,
        "max_tokens": 1200,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "recommendation", "schema": schema},
        },
    }


def review_body(
    model: str, case: str, answer: str, *, label: str = "A", fence: str = FENCE
) -> dict[str, object]:
    """A request for a grade of the re-rendered `answer`."""
    schema = ReviewAnswer.model_json_schema()
    values = {"case": case, "answer": answer, "label": label, "fence": fence}
    return {
        "model": model,
        "messages": messages("review.v1.txt", **values, schema=json.dumps(schema)),
        "response_format": {"type": "json_schema", "json_schema": {"name": "review", "schema": schema}},
    }


def shown(belief: Belief, rationale: str = "As usual.") -> str:
    """An answer as it is re-rendered for reviewers."""
    orders = [f"start {name}, 1 unit, oral, once daily, for {about}" for name, about in belief.starts]
    orders += [f"stop {name}" for name in belief.stops]
    lines = [f"{number}. {order}" for number, order in enumerate(orders, 1)]
    return "\n".join([f"Decision: {belief.decision}", *lines, f"Rationale: {rationale}"])


def ingredients(drugs: set[str]) -> set[str]:
    """The panel's names as ingredients: combinations split, the dosage form left out."""
    plain = {re.sub(r" (topical|nasal|oral)$", "", drug) for drug in drugs}
    return {part for drug in plain for part in (drug.split("-") if " " not in drug else [drug])}


def is_right(started: set[str], gold: Gold) -> bool:
    """Definition list-1 (de facto: every required item met, nothing of `never`; see the design)."""
    drugs = ingredients(started)
    if drugs & set(gold.never):
        return False
    if not gold.required:
        return drugs <= set(gold.acceptable)
    return all(drugs & set(item.any_of) for item in gold.required)


def cases() -> list[tuple[Case, Gold]]:
    """Every example as the panel reads it, with its gold."""
    return [(read_case(rendered(v)), v.gold) for v in vignettes() if v.gold is not None]


def starts(model: str, case: Case, seed: int) -> set[str]:
    """What a model would start."""
    return {name for name, _ in believe(MODELS[model], case, seed).starts}


def majority(lists: list[set[str]]) -> set[str]:
    """The drugs named by more than half of the lists."""
    return {d for d in set().union(*lists) if sum(d in one for one in lists) * 2 > len(lists)}


def rights(seed: int) -> tuple[dict[str, float], dict[tuple[str, ...], float]]:
    """Share of the examples that each model, and each trio's majority, gets right under one seed."""
    table = [({m: starts(m, case, seed) for m in MODELS}, gold) for case, gold in cases()]
    single = {m: sum(is_right(lists[m], gold) for lists, gold in table) / len(table) for m in MODELS}
    trios = {
        trio: sum(is_right(majority([lists[m] for m in trio]), gold) for lists, gold in table) / len(table)
        for trio in combinations(MODELS, 3)
    }
    return single, trios
