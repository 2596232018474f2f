"""Elements that several resources hold: ids, references, codes, and text as FHIR R4 allows it."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any

from producers.readers.fhir.node import flat
from shared.medications import is_unknown
from shared.medications.names import names
from shared.schemas import Vignette

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
URI = "urn:ietf:rfc:3986"
"""The system of identifiers that are URIs (FHIR R4, 2.1.28.0.2)."""

_REFERENCE = re.compile(r"(?:https?://\S+/)?Patient/\S+|urn:(?:uuid|oid):\S+")
# FHIR's string is one or more characters, at most 1 MiB, of XML's; what a model wrote may be anything
_LONGEST = 8_000

Resource = dict[str, Any]


def text(*parts: str | None) -> str:
    """The parts that say something on one line, a space between them; "" if none does."""
    return flat(" ".join(part for part in parts if part))[:_LONGEST].strip()


def id_of(ours: str, *name: str) -> str:
    """The id of a resource of a consultation or record: a UUID version 5 (RFC 9562) in that one's own."""
    return str(uuid.uuid5(uuid.UUID(ours), " ".join(name)))


def reference(resource: Resource) -> Resource:
    """A reference to one of our resources."""
    return {"reference": f"{resource['resourceType']}/{resource['id']}"}


def identifier(id_: str) -> Resource:
    """One of our UUIDs as an identifier."""
    return {"system": URI, "value": f"urn:uuid:{id_}"}


def subject(vignette: Vignette) -> Resource:
    """The patient by the source's own reference; where it gave none, by the record's own id."""
    given = vignette.identity.patient
    if given is not None and _REFERENCE.fullmatch(given):
        return {"reference": given, "type": "Patient"}
    return {"type": "Patient", "identifier": {"value": text(given or vignette.id) or "unknown"}}


def encounter(vignette: Vignette) -> Resource | None:
    """The encounter by the source's own reference, where there is one."""
    given = vignette.identity.encounter
    return {"reference": given} if given is not None and re.fullmatch(r"\S+/\S+", given) else None


def medication(code: str, written: str | None) -> Resource:
    """An ingredient as a CodeableConcept: its RxNorm concept where known, its name always.

    `written`: as a model wrote it, the only name of what our table does not know.
    """
    rxcui = names().rxcuis.get(code)
    name = (text(written) if is_unknown(code) else "") or code
    coding = {"coding": [{"system": RXNORM, "code": rxcui, "display": code}]} if rxcui else {}
    return {**coding, "text": name}


def coded(system: str, code: str, display: str) -> Resource:
    """A CodeableConcept of HL7's terminology."""
    return {"coding": [{"system": f"{TERMINOLOGY}/{system}", "code": code, "display": display}]}


def instant(moment: dt.datetime) -> str:
    """A moment in UTC, to the millisecond."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds")


def meta(simulated: bool) -> Resource:
    """What simulated models said is test data, and says so where systems look for it."""
    if not simulated:
        return {}
    [coding] = coded("v3-ActReason", "HTEST", "test health data")["coding"]
    return {"meta": {"security": [coding]}}
