"""Everything that the safety rules find about a list of drugs for one patient."""

from __future__ import annotations

from collections.abc import Collection

from shared.safety.allergies import allergies
from shared.safety.duplicates import duplicates
from shared.safety.finding import Finding
from shared.safety.interactions import Orders, interactions
from shared.safety.limits import limits
from shared.safety.patient import Patient
from shared.safety.rules import Knowledge


def check(
    drugs: Collection[str], patient: Patient, knowledge: Knowledge, *, orders: Orders | None = None
) -> tuple[Finding, ...]:
    """Every finding about `drugs` (ingredient codes), most severe first, then by names; a pair once a kind.

    Interactions and duplicates are told among the drugs, with what the patient takes, and among that; all
    else of `drugs` alone. A drug that stands twice in `drugs` is a duplicate of itself. `orders` (by
    ingredient) tell routes and strengths. An unknown drug (`unknown:…`) meets only the same unknown name.
    """
    listed = sorted(set(drugs))
    everything = frozenset(listed) | frozenset(patient.current)
    found = [
        *interactions(listed, patient.current, patient, knowledge, orders),
        *duplicates(drugs, patient.current, orders),
        *allergies(listed, patient.allergies, knowledge),
        *limits(listed, patient, knowledge, everything, orders),
    ]
    return tuple(sorted(found, key=lambda f: (-f.severity.weight, f.drug, f.other, f.kind, f.rule)))
