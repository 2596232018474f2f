"""What the safety rules know of a patient: codes and numbers, no text."""

from __future__ import annotations

from dataclasses import dataclass

from shared.medications import ingredients
from shared.medications.indications import conditions_of
from shared.safety.allergens import allergens, told_in
from shared.schemas import Context, Vignette


@dataclass(frozen=True)
class Patient:
    """Facts about a patient; None and empty mean not known."""

    age: float | None = None  # years
    sex: str | None = None
    pregnant: bool | None = None
    egfr: float | None = None  # mL/min/1.73 m²
    allergies: frozenset[str] = frozenset()  # codes of ingredients and classes; digests of unknown names
    current: tuple[str, ...] = ()  # ingredient codes of what is taken already, sorted, without repeats
    conditions: frozenset[str] = frozenset()  # condition codes of shared.medications.indications


def patient_of(vignette: Vignette, key: bytes) -> Patient:
    """The patient of a vignette: the structured context, and the allergies that the text tells besides.

    `key` as for `shared.medications.ingredients`: unknown names meet only under the same key.
    """
    return patient_from(vignette.context, vignette.vignette, key)


def patient_from(context: Context, text: str = "", key: bytes = b"") -> Patient:
    """The patient of a context; `text` is read for allergies only."""
    conditions = conditions_of(context.conditions)
    named = (allergens(entry, key) for entry in context.allergies)
    taken = (ingredients(drug.name, key) for drug in context.medications)
    return Patient(
        age=context.age,
        sex=context.sex,
        pregnant=True if context.pregnant is None and "pregnancy" in conditions else context.pregnant,
        egfr=context.egfr,
        allergies=told_in(text, key).union(*named),
        current=tuple(sorted(set().union(*taken))),
        conditions=conditions,
    )
