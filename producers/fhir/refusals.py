"""OperationOutcomes: why a record of the input gave no request (FHIR R4, 2.27 OperationOutcome)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from producers.case_lists import reason
from producers.fhir.elements import Resource, id_of, text

ISSUE_TYPES = {
    "missing": "required",
    "no_id": "required",
    "no_patient": "required",
    "no_subject": "required",
    "no_encounter": "required",
    "nothing_known": "required",
    "duplicate": "duplicate",
    "duplicate_id": "duplicate",
    "duplicate_field": "structure",
    "not_json": "structure",
    "not_utf8": "structure",
    "not_csv": "structure",
    "not_an_object": "structure",
    "not_fhir": "structure",
    "empty": "structure",
    "columns": "structure",
    "fields": "structure",
    "extra_forbidden": "structure",
    "fhir_xml": "not-supported",
    "incomplete": "incomplete",
    "too_long": "too-long",
    "string_too_long": "too-long",
    "deceased": "business-rule",
}
"""Codes of records that are set aside in the closed value set issue-type; any other is `invalid`."""


def set_aside(row: Mapping[str, Any]) -> Resource:
    """Of a record that was not accepted: where, why and what to do; never what was sent."""
    where = text(row["error_path"])
    code = ISSUE_TYPES.get(row["error_code"] or "", "invalid")
    return _outcome(row, "error", code, text(row["reason"]), where)


def ended(row: Mapping[str, Any]) -> Resource:
    """Of a consultation that came to no conclusion."""
    return _outcome(row, "error", "processing", f"{row['state']}: {reason(row['reason'] or 'no conclusion')}")


def erased(row: Mapping[str, Any]) -> Resource:
    """Of a record whose text was erased: nothing can be said of its patient any more."""
    return _outcome(row, "error", "deleted", "the text of this record was erased")


def no_request(row: Mapping[str, Any]) -> Resource:
    """Of a conclusion without a drug to start or stop."""
    if row["reason"]:
        said = f"no drug is proposed, and a clinician must look: {reason(row['reason'])}"
        return _outcome(row, "warning", "business-rule", said)
    return _outcome(row, "information", "informational", "the ensemble proposes no drug to start or stop")


def _outcome(row: Mapping[str, Any], severity: str, code: str, said: str, expression: str = "") -> Resource:
    return {
        "resourceType": "OperationOutcome",
        "id": id_of(row["record"], "OperationOutcome"),
        "issue": [
            {
                "severity": severity,
                "code": code,
                "details": {"text": said or "not accepted"},
                "diagnostics": text(f"line {row['line']}", f"({row['id']})" if row["id"] else None),
                **({"expression": [expression]} if expression else {}),
            }
        ],
    }
