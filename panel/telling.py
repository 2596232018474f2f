"""How a simulated patient is told: sentences that `case` reads back to the same facts, and the context."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from panel.case import Case
from panel.knowledge import Condition, knowledge

WORK = (
    "works in an office",
    "teaches at a school",
    "drives a delivery van",
    "runs a small shop",
    "is a carpenter",
    "works night shifts in a warehouse",
    "is a nurse",
    "farms",
)
LIVING = ("lives alone", "lives in town", "lives near the clinic", "shares a flat", "lives in the country")
CLINICS = (
    "comes to the clinic",
    "is seen in the outpatient clinic",
    "visits the practice",
    "is referred to the clinic",
    "returns to the clinic",
)
EMERGENCY = ("arrives at the emergency department", "is brought in by ambulance", "walks into the ward")
SPANS = (
    "since this morning",
    "for two days",
    "for four days",
    "for about a week",
    "for three weeks",
    "for two months",
    "for half a year",
    "since last winter",
)
COMPLAINTS = (
    "complaints that have slowly grown",
    "symptoms that came back twice",
    "new complaints",
    "symptoms that rest did not settle",
    "complaints that disturb daily life",
    "steady symptoms",
)
GENERAL = (
    "alert and eats and drinks normally",
    "tired but comfortable",
    "in fair general condition",
    "well nourished and moves freely",
    "a little anxious, otherwise comfortable",
)
FINDINGS = (
    "The rest of the examination is unremarkable",
    "Heart and lungs were examined twice, all in range",
    "Blood count and electrolytes are in their usual range",
    "The findings fit what was expected",
    "Earlier records were read and agree",
    "The laboratory values were repeated and agree",
)
CLOSING = ("Diagnosis", "Assessment", "Impression", "The finding is clear", "Conclusion")
PLANS = (
    "The question is what should be started now",
    "A decision about drug treatment is needed today",
    "Treatment is to be decided",
    "Advice on medication is asked for",
    "Please advise",
)


@dataclass(frozen=True)
class Told:
    """A patient, the problem of the day, and what sentences need besides."""

    case: Case
    primary: Condition
    sex: str
    allergy: str | None  # as it is named
    reaction: str

    @property
    def others(self) -> list[str]:
        """The other conditions, as the first phrase that each is found by."""
        names = sorted(self.case.conditions - {self.primary.name})
        return [knowledge().conditions[name].find[0] for name in names]

    def context(self) -> dict[str, Any]:
        """The structured context, in the shape of examples/vignettes.ndjson."""
        case, drugs = self.case, knowledge().drugs
        context: dict[str, Any] = {
            "age": _whole(case.age),
            "sex": self.sex,
            "specialty": self.primary.specialty.replace("-", " ").replace("emergency", "emergency medicine"),
            "conditions": [self.primary.find[0], *self.others],
            "allergies": [f"{self.allergy} ({self.reaction})"] if self.allergy else ["none known"],
            "egfr": _whole(case.egfr),
            "medications": [
                {"name": name, "dose": f"{drugs[name].dose} {drugs[name].frequency}"}
                for name in sorted(case.drugs)
            ],
        }
        if case.pregnant is not None:
            context["pregnant"] = case.pregnant
        return context


def sentences(rng: Random, told: Told) -> str:
    """The patient in sentences: the same facts as in the context, in words that vary."""
    case, he = told.case, "She" if told.sex == "female" else "He"
    adult = (case.age or 0) >= 16
    who = (
        ("woman" if told.sex == "female" else "man") if adult else ("girl" if told.sex == "female" else "boy")
    )
    place = rng.choice(EMERGENCY if told.primary.acuity >= 3 else CLINICS)
    facts = [_vital_signs(rng, told)]
    if case.egfr is not None:
        facts.append(f"The eGFR is {case.egfr:g} mL/min")
    if case.pregnant:
        facts.append(f"{he} is pregnant, at {rng.randint(8, 34)} weeks of gestation")
    if told.others:
        facts.append(f"Known before: {', '.join(told.others)}")
    if told.allergy:
        facts.append(f"{he} is allergic to {told.allergy}, which caused {told.reaction} in the past")
    facts.append(
        f"{he} takes {_listed(sorted(case.drugs))}" if case.drugs else f"{he} takes nothing regularly"
    )
    facts.append(rng.choice(FINDINGS))
    rng.shuffle(facts)
    life = f" who {rng.choice(WORK)} and {rng.choice(LIVING)}" if adult and rng.random() < 0.7 else ""
    return ". ".join(
        [
            f"A {case.age:g}-year-old {who}{life} {place}, having had {rng.choice(COMPLAINTS)} "
            f"{rng.choice(SPANS)}",
            f"{he} is {rng.choice(GENERAL)}",
            *facts,
            f"{rng.choice(CLOSING)}: {rng.choice(told.primary.find)}",
            rng.choice(PLANS) + ".",
        ]
    )


def _vital_signs(rng: Random, told: Told) -> str:
    high = any(word in told.primary.name for word in ("hypertension", "eclampsia"))
    upper, lower = (rng.randint(150, 178), rng.randint(92, 108)) if high else (rng.randint(104, 138), 0)
    lower = lower or rng.randint(62, 84)
    return (
        f"Temperature {rng.randint(362, 379) / 10:.1f} °C, heart rate {rng.randint(58, 104)}, "
        f"blood pressure {upper}/{lower}, oxygen saturation {rng.randint(94, 99)} %"
    )


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)
