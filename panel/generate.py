"""`python -m panel.generate --count 300 --seed 1 > FILE`: simulated vignettes with gold, as NDJSON.

Patients are drawn first, then told in sentences: one problem from the knowledge table, and in about half of
them something that forbids what comes to mind first (allergy, pregnancy, kidneys, another disease or drug).
Gold is what the table holds to be right for that patient, in definition `list-1`: the options that nothing
forbids are required, tempting mistakes and forbidden options never. Same count and seed, same bytes; a larger
count only adds. No evidence on real models, and no medical advice.

For tests of safety `--allergies always` gives every patient an allergy to what comes to mind first, a quarter
of them told in the sentences alone; `--interactions always` a drug taken now with which what comes to mind
first must not be given.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from random import Random
from typing import Any, Literal

from panel.answering import needs
from panel.case import Case
from panel.knowledge import Condition, Knowledge, knowledge, words
from panel.telling import Told, sentences

TRAP_SHARE = 0.55  # of the patients, as far as one can be found
BACKGROUND_SHARE = 0.45
PREGNANT_SHARE = 0.06  # of women between 18 and 42, beside those whose condition is of pregnancy
TEXT_ONLY_SHARE = 0.25  # of the allergies that are always planted: not in the structured context
REACTIONS = ("hives", "rash")
KIDNEY_LIMITS = (60, 35, 30, 15)  # mL/min/1.73 m²; what rules of the table ask for

MEN = {"hypogonadism", "prostatic hyperplasia", "erectile dysfunction"}
PREGNANT = {"hypertension in pregnancy", "pre-eclampsia", "nausea of pregnancy"}
KIDNEYS = {"hyperphosphataemia", "anaemia of kidney disease", "hyperkalaemia"}
AGES = {"pediatrics": (2, 11), "obstetrics": (19, 42), "geriatrics": (71, 92)}  # by specialty; else 19 to 84
AGES_OF = {"vaginal atrophy": (54, 78), "osteoporosis": (61, 88), "prostatic hyperplasia": (52, 84)}
AGES_OF |= {"giant cell arteritis": (62, 86), "polymyalgia rheumatica": (58, 84), "acne": (14, 27)}
AGES_OF |= {"parkinsonism": (58, 84), "adhd": (9, 17), "bronchiolitis": (1, 2)}


Always = Literal["allergies", "interactions"]
RULES: dict[Always, str] = {"allergies": "allergy", "interactions": "with:"}  # what each plants


def vignettes(count: int, seed: int, always: Always | None = None) -> Iterator[dict[str, Any]]:
    """So many vignettes with gold, in the shape of examples/vignettes.ndjson, each text once."""
    prefix = f"sim-{always}-{seed}" if always else f"sim-{seed}"
    texts: set[str] = set()
    for number in range(count):
        attempt = 0
        while True:
            made = _vignette(Random(f"{seed}/{number}/{attempt}"), f"{prefix}-{number + 1:04d}", always)
            attempt += 1
            if made is not None and made["vignette"] not in texts:
                break
        texts.add(made["vignette"])
        yield made


def gold(case: Case) -> dict[str, Any]:
    """What the knowledge table holds to be right for this patient, in ingredients.

    Of a combination its first ingredient stands for it; the others may be there.
    """
    allowed = [[parts(drug) for drug in need.allowed] for need in needs(case)]
    required = [list(dict.fromkeys(first for first, *_ in options)) for options in allowed]
    wanted = {name for options in required for name in options}
    acceptable = {name for options in allowed for _, *rest in options for name in rest}
    taken = {name for drug in case.drugs for name in parts(drug)}
    never: set[str] = set()
    for condition in case.problems():
        for drug in (*condition.wrong, *condition.extras, *sum(condition.goals, ())):
            harmful = case.forbids(drug) or (drug in condition.wrong and drug not in condition.extras)
            (never if harmful else acceptable).update(parts(drug))
    acceptable -= wanted
    return {
        "required": [{"any_of": options} for options in required],
        "acceptable": sorted(acceptable),
        "never": sorted(never - wanted - acceptable - taken),
    }


def parts(drug: str) -> list[str]:
    """A drug's ingredients: a combination split, the dosage form left out."""
    plain = re.sub(r" (topical|nasal|oral)$", "", drug)
    return [plain] if " " in plain else plain.split("-")


def _vignette(rng: Random, name: str, always: Always | None) -> dict[str, Any] | None:
    """One vignette, or None where the draw is no patient with exactly one open problem."""
    known = knowledge()
    primary = rng.choice([c for c in known.conditions.values() if c.acuity and (c.goals or c.wrong)])
    age, sex = _person(rng, primary)
    case = Case(
        key="",
        conditions=frozenset({primary.name}),
        allergies=frozenset(),
        drugs=frozenset(),
        pregnant=None if sex == "male" else _is_pregnant(rng, primary, age),
        egfr=float(rng.randint(11, 24) if primary.name in KIDNEYS else rng.randint(68, 118)),
        age=float(age),
    )
    allergy = None
    if rng.random() < BACKGROUND_SHARE and age >= 35:
        case = _with_background(rng, case, rng.choice(_backgrounds(known)))
    before = case
    if (always or rng.random() < TRAP_SHARE) and primary.goals:
        case, allergy = _with_trap(rng, known, case, rng.choice(primary.goals)[0], always)
    if not _stands(case, primary) or (always and case == before):
        return None
    told = Told(case, primary, sex, allergy, rng.choice(REACTIONS))
    context = told.context()
    if always == "allergies" and rng.random() < TEXT_ONLY_SHARE:
        del context["allergies"]
    return {
        "id": name,
        "kind": f"medication/{primary.specialty}",
        "vignette": sentences(rng, told),
        "context": context,
        "gold": gold(case),
    }


def _stands(case: Case, primary: Condition) -> bool:
    """Whether this is a patient with one open problem, of which nothing is treated yet and all can be."""
    return (
        case.problems() == [primary]
        and case.open_goals(primary) == list(primary.goals)
        and all(need.allowed for need in needs(case))
        and not any(case.forbids(drug) for drug in case.drugs)
    )


def _person(rng: Random, condition: Condition) -> tuple[int, str]:
    age = rng.randint(*AGES_OF.get(condition.name, AGES.get(condition.specialty, (19, 84))))
    if condition.name in MEN:
        return age, "male"
    return age, "female" if condition.specialty == "obstetrics" or rng.random() < 0.5 else "male"


def _is_pregnant(rng: Random, condition: Condition, age: int) -> bool:
    if condition.name in PREGNANT:
        return True
    able = 18 <= age <= 42 and condition.specialty != "obstetrics"
    return able and rng.random() < PREGNANT_SHARE


def _backgrounds(known: Knowledge) -> list[Condition]:
    """What a patient may have beside: nothing acute, and no disease of one sex, one age or the kidneys."""
    return [
        c
        for c in known.conditions.values()
        if c.acuity <= 1 and c.specialty in ("cardiology", "endocrinology", "pulmonology", "gastroenterology")
        if c.name not in MEN | KIDNEYS
    ]


def _with_background(rng: Random, case: Case, condition: Condition) -> Case:
    """The same patient with another condition, and what treats it."""
    drugs = set(case.drugs)
    for goal in condition.goals:
        drugs.add(rng.choice([d for d in goal if not case.forbids(d)] or list(goal)))
    return _changed(case, conditions=case.conditions | {condition.name}, drugs=frozenset(drugs))


def _with_trap(
    rng: Random, known: Knowledge, case: Case, drug: str, always: Always | None
) -> tuple[Case, str | None]:
    """The same patient with something that forbids the drug, and the allergy that it is, if it is one."""
    about = known.drugs[drug]
    named = known.allergy_words.match(words(about.group), 0)  # allergies to some classes are told as such
    rules = [("allergy", about.group if named and named[0] == about.group else drug), *about.avoid]
    if always:
        rules = [(rule, value) for rule, value in rules if rule == RULES[always]]
    if not rules:
        return case, None
    rule, value = rng.choice(rules)
    match rule:
        case "allergy":
            return _changed(case, allergies=frozenset({value, known.group(value) or value})), value
        case "pregnant" if case.pregnant is False and 18 <= (case.age or 0) <= 42:
            return _changed(case, pregnant=True), None
        case "egfr<" if case.egfr is not None and case.egfr >= float(value):
            return _changed(case, egfr=float(rng.randint(int(value) * 2 // 3, int(value) - 1))), None
        case "has:" if known.conditions[value].acuity <= 1:
            return _with_background(rng, case, known.conditions[value]), None
        case "with:":
            takers = [d.name for d in known.drugs.values() if value in (d.name, d.group)]
            return _changed(case, drugs=case.drugs | {rng.choice(takers)}), None
    return case, None


def _changed(case: Case, **facts: Any) -> Case:
    return Case(**{**case.__dict__, **facts})


def main(arguments: list[str] | None = None) -> int:
    """The command line; prints one vignette a line."""
    parser = argparse.ArgumentParser(prog="panel.generate", description="Simulated vignettes with gold.")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    planted = parser.add_mutually_exclusive_group()
    for name in RULES:
        what = f"{name} that forbid what comes to mind first"
        planted.add_argument(f"--{name}", choices=("some", "always"), default="some", help=what)
    options = parser.parse_args(arguments)
    if options.count < 1:
        parser.error("--count must be at least 1")
    always = next((name for name in RULES if getattr(options, name) == "always"), None)
    for made in vignettes(options.count, options.seed, always):
        print(json.dumps(made, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
