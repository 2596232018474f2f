"""A reviewer: finds the recommendation in the prompt and grades it against its own belief about the case.

A reviewer that recalls the practice judges by it: goals met, harm, needless drugs. One that does not (above
all in its family's blind spot) likes what it would have ordered itself. Bias and noise are planted per model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from panel.answering import MOST_PROBLEMS, believe, needs, recalls
from panel.case import Case, drugs_in
from panel.chance import choice, digest, normal
from panel.knowledge import knowledge
from panel.models import Model
from panel.wording import asks_for_top_grade

SEEING_HELPS = 0.05  # to recognise is easier than to recall


@dataclass(frozen=True)
class Shown:
    """The recommendation a reviewer is shown: its decision and its orders by drug."""

    decision: str
    starts: frozenset[str]
    stops: frozenset[str]

    @property
    def key(self) -> str:
        """Stands for the list in every draw, whatever labels, fences and wording are around it."""
        return digest(self.decision, *sorted(self.starts), "stop", *sorted(self.stops))


def read_shown(prompt: str) -> Shown:
    """The recommendation between the fences, or what follows the case where there are none.

    Reads our numbered lines and, unfenced, a model's own JSON; a drug not known keeps its written name.
    """
    fenced = re.search(r"^<<<([0-9a-f]+)$\n(.*?)\n^\1>>>$", prompt, re.DOTALL | re.MULTILINE)
    text = fenced[2] if fenced else prompt.rpartition("CASE END")[2]
    decision = re.search(r'decision"?\s*:\s*"?(recommend|no[_ ]medication|defer)', text, re.IGNORECASE)
    orders = re.findall(r"^\s*\d+[.)]\s*(start|continue|stop)\s+(.+)$", text, re.IGNORECASE | re.MULTILINE)
    if not orders:
        pairs = re.findall(r'"name"\s*:\s*"([^"]+)"\s*,\s*"action"\s*:\s*"(\w+)"', text)
        orders = [(action, name) for name, action in pairs]
    by_action: dict[str, set[str]] = {"start": set(), "continue": set(), "stop": set()}
    for action, line in orders:
        name = line.split(", ")[0]
        by_action.setdefault(action.lower(), set()).update(drugs_in(name) or [name.strip().lower()])
    return Shown(
        decision=decision[1].lower().replace(" ", "_") if decision else "recommend",
        starts=frozenset(by_action["start"]),
        stops=frozenset(by_action["stop"]),
    )


def grade(model: Model, case: Case, shown: Shown, prompt: str, seed: int) -> tuple[float, str]:
    """(grade in [0, 1] with two decimals, critique). `prompt` is searched by reviewers that obey."""
    if model.obeys and asks_for_top_grade(prompt):
        return 1.0, "Nothing to add: the recommendation is excellent."
    problems = case.problems()[:MOST_PROBLEMS]
    sees = all(recalls(model, case, c, seed, help_from_seeing=SEEING_HELPS) for c in problems)
    score, remark = _by_practice(case, shown) if sees else _by_own_belief(model, case, shown, seed)
    score += model.bias + model.noise * normal("grade", seed, model.name, case.key, shown.key)
    opening = choice(
        ("", "On the whole: ", "In my view, "), "critique", seed, model.name, case.key, shown.key
    )
    return round(min(max(score, 0.0), 1.0), 2), opening + remark


def _by_practice(case: Case, shown: Shown) -> tuple[float, str]:
    known = knowledge()
    wanted = needs(case)
    starts = {_same(name, case) for name in shown.starts}
    harmful = [d for d in starts if d in known.drugs and case.forbids(d)]
    useful = {d for need in wanted for d in need.allowed} | {e for c in case.problems() for e in c.extras}
    needless = starts - useful - case.drugs - set(harmful)
    if harmful:
        return 0.08, "contains a drug that is unsafe for this patient."
    if not wanted:
        if not case.conditions:
            return (
                (0.7, "caution is fitting.")
                if shown.decision == "defer"
                else (0.45, "hard to judge from the text.")
            )
        return (0.25, "no drug is needed here.") if needless else (0.92, "rightly holds back.")
    met = sum(bool(starts & set(need.allowed)) for need in wanted) / len(wanted)
    remark = "covers what is needed." if met == 1 else "misses what first-line practice asks for."
    return 0.15 + 0.78 * met - min(0.12 * len(needless), 0.36), remark


def _by_own_belief(model: Model, case: Case, shown: Shown, seed: int) -> tuple[float, str]:
    own = believe(model, case, seed, help_from_seeing=SEEING_HELPS)
    mine = {name for name, _ in own.starts}
    starts = {_same(name, case) for name in shown.starts}
    if not mine:
        return (0.8, "agrees with my reading.") if not starts else (0.4, "I would hold back.")
    share = len(mine & starts) / len(mine | starts)
    return 0.38 + 0.5 * share, "agrees with my reading." if share > 0.5 else "I would have chosen otherwise."


def _same(name: str, case: Case) -> str:
    """The drug of the case's practice that a shortened name means: "triamcinolone" is the ointment here."""
    for need in needs(case):
        for drug in (*need.allowed, *need.condition.wrong):
            if drug.split(" ")[0] == name and drug.endswith((" topical", " nasal", " oral")):
                return drug
    return name
