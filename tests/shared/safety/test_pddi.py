"""HL7's PDDI-CDS scenarios, warfarin with NSAIDs, as an outside test: the pair, topical use, modifiers."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import pytest

from shared.medications.indications import conditions_of
from shared.medications.order import normalise
from shared.safety.finding import Finding, Severity
from shared.safety.interactions import interactions
from shared.safety.patient import Patient
from shared.safety.rule import covered
from shared.safety.rules import builtin
from tests.shared_data import NOT_HERE, SHARED_DATA

SCENARIOS = SHARED_DATA / "fhir" / "pddi_cds"
YEAR = 2020  # the scenarios say "today"; all birthdays are years away from 65
FHIR = "{http://hl7.org/fhir}"
MODIFIERS = {  # what stands in a scenario → what must be named
    "dexamethasone": "systemic corticosteroid raises it",
    "spironolactone": "aldosterone antagonist raises it",
    "eplerenone": "aldosterone antagonist raises it",
    "rabeprazole": "proton pump inhibitor lowers it (gastroprotection)",
    "misoprostol": "misoprostol lowers it (gastroprotection)",
    "peptic_ulcer": "a history of peptic ulcer raises it",
    "over 65": "age 65 or over raises it",
}

pytestmark = pytest.mark.skipif(not SCENARIOS.is_dir(), reason=NOT_HERE)


class Facts:
    """What a scenario tells: texts of orders and conditions, and the year of birth."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.conditions: list[str] = []
        self.born: int | None = None

    def findings(self) -> list[Finding]:
        """Every pair of warfarin and an NSAID that is found."""
        orders: dict[str, list] = {}
        for order in map(normalise, self.orders):
            for drug in order.ingredients:
                orders.setdefault(drug, []).append(order)
        age = None if self.born is None else float(YEAR - self.born)
        patient = Patient(age=age, conditions=conditions_of(self.conditions))
        told = interactions(orders, (), patient, builtin(), orders)
        return [f for f in told if "warfarin" in (f.drug, f.other) and {f.drug, f.other} & covered("@nsaid")]

    def named(self) -> set[str]:
        """The modifiers that must be named."""
        present = {drug for text in self.orders for drug in normalise(text).ingredients}
        present |= conditions_of(self.conditions)
        if self.born is not None and YEAR - self.born >= 65:
            present.add("over 65")
        return {MODIFIERS[fact] for fact in present & MODIFIERS.keys()}


def resources(value: object) -> Iterator[dict]:
    """Every FHIR resource inside a JSON value."""
    if isinstance(value, dict):
        if "resourceType" in value:
            yield value
        yield from chain.from_iterable(map(resources, value.values()))
    elif isinstance(value, list):
        yield from chain.from_iterable(map(resources, value))


def of_json(path: Path) -> Facts:
    """The facts of a CDS Hooks request or a bundle."""
    facts = Facts()
    for resource in resources(json.loads(path.read_text(encoding="utf-8-sig"))):
        if resource["resourceType"] == "Patient":
            facts.born = int(resource["birthDate"][:4])
        elif resource["resourceType"] == "Condition":
            facts.conditions.append(resource["code"]["coding"][0]["display"])
        elif "medicationCodeableConcept" in resource:
            facts.orders.append(resource["medicationCodeableConcept"]["coding"][0]["display"])
    return facts


def add_xml(facts: Facts, name: str) -> None:
    """Add the facts of one resource in XML."""
    root = ElementTree.parse(SCENARIOS / f"{name}.xml").getroot()
    born = root.find(f"{FHIR}birthDate")
    if born is not None:
        facts.born = int(born.attrib["value"][:4])
    for field, texts in (("medicationCodeableConcept", facts.orders), ("code", facts.conditions)):
        display = root.find(f"{FHIR}{field}/{FHIR}coding/{FHIR}display")
        if display is not None:
            texts.append(display.attrib["value"])


def scenarios() -> list[tuple[str, Facts]]:
    """All scenarios: those in JSON, and warfarin and an NSAID in XML with each of the other resources."""
    if not SCENARIOS.is_dir():
        return []
    told = [(path.name, of_json(path)) for path in sorted(SCENARIOS.glob("*.json"))]
    names = sorted(path.stem for path in SCENARIOS.glob("*.xml"))
    warfarin = [name for name in names if name.endswith("-warfarin-prefetch") or "-warfarin-context" in name]
    nsaids = [
        n for n in names if n.endswith(("-nsaid-context", "-nsaid-prefetch", "topicaldiclofenac-context"))
    ]
    others = [name for name in names if name not in {*warfarin, *nsaids}]
    for one in warfarin:
        for other in nsaids:
            for more in others:
                facts = Facts()
                for name in (one, other, more):
                    add_xml(facts, name)
                told.append((f"{one} + {other} + {more}", facts))
    return told


def both_stand(facts: Facts) -> bool:
    """Whether a scenario holds warfarin and an NSAID, read from its own words."""
    text = " ".join(facts.orders).lower()
    nsaids = ("ibuprofen", "ketorolac", "etodolac", "diclofenac", "voltaren", "naproxen")
    return "warfarin" in text and any(name in text for name in nsaids)


@pytest.mark.parametrize(("name", "facts"), [pytest.param(n, f, id=n) for n, f in scenarios()])
def test_warfarin_with_an_nsaid(name, facts):
    """The pair is found wherever both stand and nowhere else, topical use as lesser, its modifiers named."""
    findings = facts.findings()
    assert bool(findings) is both_stand(facts)
    topical = any("Topical" in text for text in facts.orders)
    for finding in findings:
        assert finding.severity is (Severity.minor if topical else Severity.major)
        assert set(finding.modifiers) >= facts.named()


def test_the_scenarios_are_many_and_say_much():
    """The scenarios hold the pair often, topical use, and every modifier that the issue names."""
    told = [facts for _, facts in scenarios() if both_stand(facts)]
    assert len(told) >= 40
    assert set(MODIFIERS.values()) == set().union(*(facts.named() for facts in told))
