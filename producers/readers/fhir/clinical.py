"""Patient, Condition, AllergyIntolerance and Encounter → facts (FHIR R4 4.0.1; STU3's elements besides)."""

from __future__ import annotations

import datetime as dt

from producers.readers.fhir.chart import Allergy, Condition, Encounter, Person, Retracted, Source
from producers.readers.fhir.identity import who_is
from producers.readers.fhir.node import Fault, Node

_SEXES = {"female": "female", "f": "female", "male": "male", "m": "male", "other": "other", "o": "other"}
_UNKNOWN = frozenset({"", "unknown", "unk", "u", "un", "asked-declined", "asku", "nullflavor"})
_SEX_CODES = {"248152002": "female", "248153007": "male", "f": "female", "m": "male"}  # SNOMED CT, v3
_ENTERED_IN_ERROR = "entered-in-error"

CONDITION_ACTIVE = frozenset({"active", "recurrence", "relapse"})
CONDITION_OVER = frozenset({"inactive", "remission", "resolved"})
NO_KNOWN_ALLERGY = frozenset(  # SNOMED CT: no known allergy (of drugs, food, environment, latex …)
    {"716186003", "409137002", "429625007", "428607008", "160244002", "716184000", "1003774007"}
)
ADMINISTRATIVE = frozenset({"planned", "cancelled", "entered-in-error", "proposed"})


def person(source: Source, identity: str) -> Person:
    """The Patient. Raises `Fault`."""
    node = source.node
    sex = _sex(node.text("gender").lower(), node.at("gender"))
    at_birth = None
    for extension in node.children("extension"):
        if extension.text("url").endswith(("us-core-birthsex", "us-core-sex", "us-core-individual-sex")):
            coding = extension.concept("valueCoding") or extension.concept("valueCodeableConcept")
            codes = [each.code for each in coding.codes] if coding else [extension.text("valueCode")]
            at_birth = at_birth or next((_SEX_CODES.get(each.lower()) for each in codes), None)
    died = node.when("deceasedDateTime")
    gone = died.day if died else (dt.date.min if node.flag("deceasedBoolean") else None)
    return Person(identity, sex, at_birth, node.when("birthDate"), gone, who_is(node))


def _sex(given: str, path: str) -> str | None:
    if given in _UNKNOWN:
        return None
    if given not in _SEXES:
        raise Fault(path, "is not one of male, female, other, unknown: correct it")
    return _SEXES[given]


def condition(source: Source) -> Condition:
    """A Condition. Raises `Fault`, `Retracted`."""
    node = source.node
    verified = node.code("verificationStatus")
    if verified in ("refuted", _ENTERED_IN_ERROR):
        raise Retracted(f"verificationStatus {verified}")
    status = node.code("clinicalStatus")
    end = node.when("abatementDateTime", "abatementPeriod")
    over = status in CONDITION_OVER or end is not None or node.has("abatementString")
    over = over or node.has("abatementAge") or node.value.get("abatementBoolean") is True
    if status and status not in CONDITION_ACTIVE | CONDITION_OVER | {"unknown"}:
        raise Fault(node.at("clinicalStatus"), "is no status of a condition: active, resolved, …; correct it")
    try:
        what = node.concept("code")
        if what is None:
            raise Fault(node.at("code"), "says nothing: give the condition's text or code")
        words = what.label
        if verified in ("unconfirmed", "provisional", "differential"):
            words = f"{words} ({verified})"
        return Condition(
            words,
            frozenset(each.code for each in what.codes),
            not over or (status in CONDITION_ACTIVE and end is None),
            node.when("onsetDateTime", "onsetPeriod", "recordedDate", "assertedDate"),
            end,
            source.refers("encounter", "Encounter") or source.refers("context", "Encounter"),
        )
    except Fault as fault:
        fault.grave = not over
        raise


def allergy(source: Source) -> Allergy:
    """An AllergyIntolerance. Raises `Fault`, `Retracted`."""
    node = source.node
    verified = node.code("verificationStatus")
    if verified in ("refuted", _ENTERED_IN_ERROR):
        raise Retracted(f"verificationStatus {verified}")
    status = node.code("clinicalStatus") or (node.code("status") if node.has("status") else "")
    if status in ("inactive", "resolved", "refuted", _ENTERED_IN_ERROR):
        raise Retracted(f"clinicalStatus {status}")
    if status not in ("", "active", "unconfirmed", "confirmed"):
        raise Fault(
            node.at("clinicalStatus"), "is no status of an allergy: active, inactive or resolved; correct it"
        )
    reactions = node.children("reaction")
    what = node.concept("code") or node.concept("substance")
    # the name, or nothing: what a code without a name stands for cannot be checked against a drug
    substance = what.words if what else ""
    for reaction in reactions:
        exact = reaction.concept("substance")
        if exact is not None and exact.words and not substance:
            substance = exact.words
    start = node.when("onsetDateTime", "recordedDate", "assertedDate")
    if (what is not None and what.has(NO_KNOWN_ALLERGY)) or _denies(substance):
        return Allergy("", "", substance or "No known allergy", start)
    if not substance:
        raise Fault(node.at("code"), "names no substance: give its text or display, to be checked")
    return Allergy(substance, _detail(node, reactions), "", start)


def _denies(substance: str) -> bool:
    said = substance.lower().strip(" .")
    return said in ("nka", "nkda", "none", "no allergies") or said.startswith(("no known", "nil known"))


def _detail(node: Node, reactions: list[Node]) -> str:
    parts = []
    if node.text("type") == "intolerance":
        parts.append("intolerance")
    parts += [each.words for each in node.concepts("category") if each.words]
    if criticality := node.text("criticality"):
        parts.append(f"criticality {criticality}")
    signs = [sign.label for each in reactions for sign in each.concepts("manifestation")]
    signs = list(dict.fromkeys(sign for sign in signs if sign))
    if signs:
        parts.append(f"reaction: {', '.join(signs)}")
    severe = sorted({each.text("severity") for each in reactions} - {""})
    if severe:
        parts.append(f"severity {', '.join(severe)}")
    return "; ".join(parts)


def encounter(source: Source, identity: str) -> Encounter:
    """An Encounter. Raises `Fault`, `Retracted`."""
    node = source.node
    status = node.code("status")
    if status in ADMINISTRATIVE:
        raise Retracted(f"status {status}")
    reasons = [each.label for each in (*node.concepts("reasonCode"), *node.concepts("reason"))]
    reasons += [each.text("display") for each in node.children("reasonReference")]
    period = node.child("period")
    end = period.when("end") if period else None
    return Encounter(
        identity,
        node.when("period"),
        "; ".join(dict.fromkeys(label for each in node.concepts("type") if (label := each.label))),
        tuple(dict.fromkeys(reason for reason in reasons if reason)),
        bool(reasons) or node.has("diagnosis") or node.has("reasonReference"),
        end.day if end else None,
    )
