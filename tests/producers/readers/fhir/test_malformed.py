"""Whatever a file holds, the reader raises nothing, and every resource has one fate."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.producers.readers.fhir.made import PATIENT, allergy, bundle, coded, condition, order, read, value

AT = {"encounter": {"reference": "Encounter/e1"}}
RESOURCES: list[dict[str, Any]] = [
    PATIENT,
    condition("Gout", code="90560007", id="c1", **AT),
    allergy("Latex", id="a1", category=["medication"], reaction=[{"manifestation": [coded("Hives")]}]),
    order(
        "",
        id="o1",
        medicationReference={"reference": "#m"},
        contained=[{"resourceType": "Medication", "id": "m", "code": coded("Warfarin")}],
        dosageInstruction=[
            {
                "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": 5, "unit": "mg"}}],
            }
        ],
        dispenseRequest={"expectedSupplyDuration": {"value": 30, "code": "d"}},
        **AT,
    ),
    {
        "resourceType": "MedicationDispense",
        "subject": {"reference": "Patient/p1"},
        "status": "completed",
        "medicationReference": {"reference": "Medication/m2"},
        "whenHandedOver": "2025-01-01",
        "daysSupply": {"value": 30, "unit": "d"},
    },
    {"resourceType": "Medication", "id": "m2", "ingredient": [{"itemCodeableConcept": coded("Aspirin")}]},
    value("2160-0", 1.1, id="v1"),
    value("85354-9", None, component=[{"code": coded("", "8480-6"), "valueQuantity": {"value": 1}}]),
    value("82810-3", None, valueCodeableConcept=coded("Pregnant", "77386006")),
    {
        "resourceType": "Encounter",
        "id": "e1",
        "subject": {"reference": "Patient/p1"},
        "period": {"start": "2025-01-10"},
        "reasonCode": [coded("Pain")],
        "participant": [{"individual": {"reference": "Practitioner/d1", "display": "Dr. Who"}}],
    },
    {
        "resourceType": "DocumentReference",
        "status": "current",
        "subject": {"reference": "Patient/p1"},
        "date": "2025-02-02",
        "content": [{"attachment": {"contentType": "text/html", "data": "PHA+eDwvcD4="}}],
    },
    {
        "resourceType": "Composition",
        "subject": {"reference": "Patient/p1"},
        "section": [{"title": "t", "text": {"div": "<p>x</p>"}}],
    },
    {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Okafor"}]},
    {"resourceType": "RelatedPerson", "patient": {"reference": "Patient/p1"}, "name": [{"text": "Tom"}]},
    {"resourceType": "Claim", "patient": {"reference": "Patient/p1"}},
]


def places(value_: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every element below this."""
    inner = (
        value_.items() if isinstance(value_, dict) else enumerate(value_) if isinstance(value_, list) else ()
    )
    return [each for name, below in inner for each in ((*path, name), *places(below, (*path, name)))]


WHOLE = bundle(*RESOURCES)
PLACES = places(WHOLE)
DROP = "\N{SYMBOL FOR DELETE}"
NESTED: Any = []
for _ in range(60):
    NESTED = [{"a": NESTED}]
WRONG = st.sampled_from(
    [
        DROP, None, "", "x", 0, -1, 1e300, 10**30, True, [], {}, [None], [[]], [{}], ["x"], {"x": 1}, NESTED,
        "2024-13-45", "9999-12-31", "0001-01-01", "2024", "\x00\ud800", "Patient/none", "#", "urn:uuid:",
        {"reference": "Patient/p2"}, {"reference": 7}, {"value": "many"}, {"coding": [{"code": 7}]},
        {"start": 7}, {"resourceType": "Bundle", "entry": [{}]}, "<![if x", "a" * 400,
    ]
)  # fmt: skip


def changed(path: tuple[Any, ...], wrong: Any, whole: Any) -> None:
    """Put something wrong there, or take it away; what is no longer there stays as it is."""
    for name in path[:-1]:
        try:
            whole = whole[name]
        except (KeyError, IndexError, TypeError):
            return
    if not isinstance(whole, (dict, list)) or (isinstance(whole, list) and path[-1] not in range(len(whole))):
        return
    if isinstance(whole, dict) and not isinstance(path[-1], str):
        return
    if wrong == DROP:
        if isinstance(whole, list) or path[-1] in whole:
            del whole[path[-1]]
    else:
        whole[path[-1]] = copy.deepcopy(wrong)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(PLACES), WRONG), min_size=1, max_size=3),
    st.sampled_from(["patient", "encounter"]),
    st.booleans(),
)
def test_nothing_that_stands_in_a_bundle_raises(changes: list[Any], per: Any, lines: bool) -> None:
    """Elements taken away, of wrong types, with impossible dates, references to nothing, deep nesting."""
    whole = copy.deepcopy(WHOLE)
    for path, wrong in changes:
        changed(path, wrong, whole)
    content: Any = whole
    if lines and isinstance(whole.get("entry"), list):
        inner = [each.get("resource") if isinstance(each, dict) else each for each in whole["entry"]]
        content = "\n".join(json.dumps(each) for each in inner)
    for each in read(content, per=per):
        assert (each.vignette is None) == (each.error is not None)
        if each.vignette is not None:
            assert each.vignette.model_dump_json().encode()
        if each.error is not None:
            assert each.text.encode()
            assert each.error.reason
            assert len(each.error.reason) < 300


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 4000), st.integers(0, 4000))
def test_nothing_that_stands_in_a_file_raises(noise: bytes, start: int, end: int) -> None:
    """Noise, and files cut or patched anywhere."""
    text = json.dumps(WHOLE).encode()
    assert all(each.error or each.vignette for each in read(text[:start] + noise + text[end:]))


@pytest.mark.parametrize("depth", [100, 300, 900, 980, 20_000])
def test_deep_nesting_raises_nothing(depth: int) -> None:
    """Wherever the limit of the JSON reader lies, in what is read and in what is handed back."""
    deep = "[" * depth + "]" * depth
    for kind in ("Claim", "Condition", "Patient", "Spaceship"):
        text = f'{{"resourceType": "{kind}", "subject": {{"reference": "Patient/p1"}}, "code": {deep}}}'
        reads = read(f"{json.dumps(PATIENT)}\n{text}\n{json.dumps(condition('Gout'))}")
        assert reads
        assert all(each.error or each.vignette for each in reads)


def test_the_whole_bundle_is_read() -> None:
    """What is changed above is sound before."""
    (found,) = read(WHOLE)
    assert found.vignette is not None
    assert found.vignette.context.pregnant is True
    assert sorted(each.name for each in found.vignette.context.medications) == ["Warfarin"]
