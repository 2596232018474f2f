"""DetectedIssues: what the safety rules find with the list (FHIR R4, 9.6 DetectedIssue)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from producers.fhir.elements import (
    Resource,
    coded,
    id_of,
    identifier,
    instant,
    meta,
    reference,
    subject,
    text,
)

if TYPE_CHECKING:
    from producers.fhir.told import Told

CODES = {
    "interaction": ("DRG", "Drug Interaction Alert"),
    "allergy": ("ALGY", "Allergy Alert"),
    "cross_allergy": ("RALG", "Related Allergy Alert"),
    "duplicate": ("DUPTHPY", "Duplicate Therapy Alert"),
    "pregnancy": ("PREG", "Pregnancy Alert"),
    "renal": ("LAB", "Lab Alert"),
    "age": ("AGE", "Age Alert"),
    "condition": ("COND", "Condition Alert"),
}
"""Our kinds of findings in HL7's v3-ActCode, the value set detectedissue-category."""
SEVERITIES = {"contraindicated": "high", "major": "high", "moderate": "moderate", "minor": "low"}


def issues(row: Mapping[str, Any], told: Told, starts: Mapping[str, Resource]) -> list[Resource]:
    """One for each finding that remains; `starts`: the requests by ingredient."""
    return [_issue(row, told, finding, starts) for finding in row["findings"]]


def _issue(
    row: Mapping[str, Any], told: Told, finding: Mapping[str, Any], starts: Mapping[str, Resource]
) -> Resource:
    kind, drug, other = finding["kind"], finding["drug"], finding["other"]
    id_ = id_of(row["consultation"], "DetectedIssue", kind, drug, other, finding["rule"])
    drugs = [drug, *([other] if kind in ("interaction", "duplicate") else [])]
    with_ = f" with {other}".replace("_", " ") if other else ""
    detail = [f"{drug}: {kind.replace('_', ' ')}{with_}", finding["effect"], finding["mechanism"]]
    advice = text(finding["advice"])
    return {
        "resourceType": "DetectedIssue",
        "id": id_,
        **meta(row["simulated"]),
        "identifier": [identifier(id_)],
        "status": "preliminary",
        "code": coded("v3-ActCode", *CODES[kind]),
        "severity": SEVERITIES[finding["severity"]],
        "patient": subject(told.vignette),
        "identifiedDateTime": instant(told.concluded_at),
        # a drug without a request of ours is one that the patient takes already
        "implicated": [
            reference(starts[each]) if each in starts else {"display": f"{each}, taken already"}
            for each in drugs
        ],
        "evidence": [{"code": [{"text": text(f"{finding['rule']}: {finding['source']}")}]}],
        "detail": text("; ".join(filter(None, (*detail, *finding["modifiers"])))),
        **({"mitigation": [{"action": {"text": f"Advised, not done: {advice}"}}]} if advice else {}),
    }
