"""Checks of FHIR R4 (4.0.1): the library's models, and what those let pass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from fhir.resources.R4B import get_fhir_model_class

_ISSUE_TYPES = [
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired",
    "forbidden", "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found",
    "deleted", "too-long", "code-invalid", "extension", "too-costly", "business-rule", "conflict",
    "transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled",
    "informational",
]  # fmt: skip
CODES = {
    "MedicationRequest.status": ["draft"],  # of the value set, all that we may say
    "MedicationRequest.intent": ["proposal"],
    "DetectedIssue.status": ["preliminary"],
    "DetectedIssue.severity": ["high", "moderate", "low"],
    "Provenance.entity.role": ["derivation", "revision", "quotation", "source", "removal"],
    "OperationOutcome.issue.severity": ["fatal", "error", "warning", "information"],
    "OperationOutcome.issue.code": _ISSUE_TYPES,
}
"""Required bindings of 4.0.1 among what we use."""
NEEDED = {
    "MedicationRequest": ("id", "status", "intent", "medicationCodeableConcept", "subject", "note"),
    "DetectedIssue": ("id", "status", "code", "severity", "patient", "implicated"),
    "Provenance": ("id", "target", "recorded", "agent", "entity"),
    "OperationOutcome": ("id", "issue"),
}
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def valid(resources: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The resources by type; fails at the first that is not as FHIR R4 has it."""
    by_type: dict[str, list[dict[str, Any]]] = {name: [] for name in NEEDED}
    for each in resources:
        by_type[each["resourceType"]].append(each)
    ours = {f"{kind}/{each['id']}" for kind, all_ in by_type.items() for each in all_}
    assert len(ours) == sum(map(len, by_type.values())), "an id stands twice"
    for kind, all_ in by_type.items():
        for each in all_:
            _valid(kind, each, ours)
    return by_type


def _valid(kind: str, resource: dict[str, Any], ours: set[str]) -> None:
    get_fhir_model_class(kind).model_validate(resource)
    assert set(NEEDED[kind]) <= set(resource), kind
    assert _ID.fullmatch(resource["id"])
    for path, value in _leaves(kind, resource):
        assert value is not None, path
        assert value != "", path
        if path in CODES:
            assert value in CODES[path], (path, value)
        if path.endswith(("recorded", "authoredOn", "identifiedDateTime")):
            assert _INSTANT.fullmatch(value), path
        if path.endswith(".reference") and value.startswith(tuple(NEEDED)):
            assert value in ours, path
        if isinstance(value, str):
            assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", value), path


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every primitive with its path, without places in lists; an empty list or object fails."""
    if isinstance(value, dict):
        assert value, path
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}", inner)
    elif isinstance(value, list):
        assert value, path
        for inner in value:
            yield from _leaves(path, inner)
    else:
        yield path, value
