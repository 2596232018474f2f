"""What a model believes about a case: the drugs it would start and stop, drawn from its planted skill.

A model recalls the right practice with the probability of its skill in the specialty, less where the first
choice is a trap (contraindicated here) and much less in its family's blind spots. There all members of a
family make the same mistake; elsewhere each makes its own. Blind spots belong to the world, not to the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from panel.case import Case
from panel.chance import choice, uniform
from panel.knowledge import Condition
from panel.models import Model

BLIND_SHARE = 0.16  # of a family's conditions
BLIND_FACTOR = 0.25  # on the recall there
NAIVE_SHARE = 0.6  # of the mistakes on a trap: the first choice is given as if nothing forbade it
SECOND_CHOICE = 0.06  # how often another good option than the preferred one is taken
EXTRA_SHARE = 0.25  # how often a harmless addition is made
MOST_PROBLEMS = 2

Decision = Literal["recommend", "no_medication", "defer"]


@dataclass(frozen=True)
class Need:
    """One goal of a case: what it is for, the preferred drug, and the options that nothing forbids here."""

    condition: Condition
    preferred: str
    allowed: tuple[str, ...]

    @property
    def is_trap(self) -> bool:
        """Whether the drug that comes to mind first is forbidden here."""
        return self.preferred not in self.allowed


@dataclass(frozen=True)
class Belief:
    """What a model would order: drugs to start (each with the condition it is for) and drugs to stop."""

    decision: Decision
    starts: tuple[tuple[str, str], ...] = ()
    stops: tuple[str, ...] = ()


def needs(case: Case) -> list[Need]:
    """The goals of the case's most acute problems, in order."""
    return [
        Need(condition, goal[0], tuple(d for d in goal if not case.forbids(d)))
        for condition in case.problems()[:MOST_PROBLEMS]
        for goal in case.open_goals(condition)
    ]


def is_blind(model: Model, condition: Condition) -> bool:
    """Whether the model's family has its blind spot here."""
    return uniform("family blind spot", model.family, condition.name) < BLIND_SHARE


def recalls(
    model: Model, case: Case, condition: Condition, seed: int, *, help_from_seeing: float = 0.0
) -> bool:
    """Whether the model has the right practice in mind; seeing an answer helps, except in a blind spot."""
    chance = model.skill_in(condition.specialty)
    if any(need.is_trap for need in needs(case) if need.condition is condition):
        chance *= model.caution
    chance = chance * BLIND_FACTOR if is_blind(model, condition) else min(chance + help_from_seeing, 0.98)
    return uniform("recall", seed, model.name, case.key, condition.name) < chance


def believe(model: Model, case: Case, seed: int, *, help_from_seeing: float = 0.0) -> Belief:
    """The model's own answer to the case."""
    problems = case.problems()[:MOST_PROBLEMS]
    if not problems:
        return Belief("no_medication" if case.conditions else "defer")
    starts: dict[str, str] = {}
    for condition in problems:
        right = recalls(model, case, condition, seed, help_from_seeing=help_from_seeing)
        own = [need for need in needs(case) if need.condition is condition]
        slip = None if right else int(uniform("slip", model.family, condition.name) * max(len(own), 1))
        for at, need in enumerate(own):
            drug = (
                _mistake(model, case, condition, seed, need) if at == slip else _good(model, case, need, seed)
            )
            if drug is not None:
                starts[drug] = condition.name
        if not own and not right:
            starts[_mistake(model, case, condition, seed, None)] = condition.name
        for extra in condition.extras:
            wanted = uniform("extra", seed, model.name, case.key, extra) < EXTRA_SHARE
            if wanted and extra not in case.drugs and not case.forbids(extra):
                starts.setdefault(extra, condition.name)
    if not starts:
        return Belief("no_medication" if not needs(case) else "defer")
    stops = tuple(d for d in sorted(case.drugs) if case.forbids(d) and d not in starts)
    careful = uniform("stops", seed, model.name, case.key) < model.caution
    return Belief("recommend", tuple(starts.items()), stops if careful else ())


def _good(model: Model, case: Case, need: Need, seed: int) -> str | None:
    other = uniform("second", seed, model.name, case.key, need.preferred) < SECOND_CHOICE
    return need.allowed[1 if other and len(need.allowed) > 1 else 0] if need.allowed else None


def _mistake(model: Model, case: Case, condition: Condition, seed: int, need: Need | None) -> str:
    if need is not None and need.is_trap and uniform("naive", model.family, condition.name) < NAIVE_SHARE:
        return need.preferred
    good = need.allowed if need is not None else ()
    tempting = [d for d in condition.wrong if d not in good and d not in case.drugs] or list(condition.wrong)
    if is_blind(model, condition):
        return choice(tempting, "mistake", model.family, condition.name)
    return choice(tempting, "mistake", seed, model.name, case.key)
