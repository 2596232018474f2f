"""MedicationRequests that come back → the drugs that were given: a clinician's answer to our proposals.

Each is about one of them: `basedOn` our MedicationRequest (by its id or its identifier), or with our
consultation as its `groupIdentifier`. The dosage is not read: an outcome is a list of ingredients.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator

from producers.fhir.elements import RXNORM, identifier
from producers.fhir.requests import request_id
from producers.readers.fhir.chart import Source
from producers.readers.fhir.medications import medication_name, medicine
from producers.readers.fhir.node import Fault, Node
from producers.readers.fhir.source import Located, Unreadable, key_of_resource, resources
from shared.errors import RecordError
from shared.medications.names import names

TAKEN = ("active", "on-hold", "completed")
NOT_TAKEN = ("cancelled", "entered-in-error", "stopped")
"""Of the value set medicationrequest-status; in draft or unknown nothing is decided yet."""


def taken(body: bytes, consultation: str, starts: Collection[str], stops: Collection[str]) -> list[str]:
    """Names of the drugs that were given, of a MedicationRequest, an array, NDJSON or a Bundle of them.

    `starts` and `stops`: what we proposed for this consultation. A request not to perform something names
    no drug that was given. Raises `RecordError`, with a FHIRPath, for whatever cannot be read as that.
    """
    found = list(_located(body))
    called = {key_of_resource(each): each for each in found if each.kind == "Medication"}
    ours = {request_id(consultation, code) for code in starts}
    ours |= {request_id(consultation, code, stop=True) for code in stops}
    requests = [each for each in found if each.kind == "MedicationRequest"]
    if not requests:
        raise RecordError(
            "no_request",
            "holds no MedicationRequest: send those that answer the proposals, cancelled ones too",
        )
    given = []
    for each in requests:
        source = Source(Node(each.value, each.path), each.aliases)
        try:
            if not _answers(source, consultation, ours):
                raise Fault(
                    source.node.at("basedOn"),
                    "names no proposal of this consultation: MedicationRequest/{our id}, or the consultation "
                    "as groupIdentifier",
                )
            if _is_taken(source.node) and not source.node.flag("doNotPerform"):
                given.append(_name(source, called))
        except Fault as fault:
            raise RecordError(fault.code, fault.reason, path=fault.path) from None
    return given


def _located(body: bytes) -> Iterator[Located]:
    for found in resources([("", io.BytesIO(body))]):
        if isinstance(found, Unreadable):
            raise found.error
        if isinstance(found, Located):  # what was deleted is nobody's order
            yield found


def _answers(source: Source, consultation: str, ours: Collection[str]) -> bool:
    """Whether it answers a proposal of this consultation. Raises `Fault`."""
    node = source.node
    based = [_referred(each, source) for each in node.children("basedOn")]
    if any(each in ours for each in based):  # it may name others of the hospital's own
        return True
    group = node.child("groupIdentifier")
    return group is not None and _is(group, consultation)


def _referred(reference: Node, source: Source) -> str:
    """The id that a reference names, in our own words; "" if none."""
    if written := reference.text("reference"):
        return source.resolve(written, "MedicationRequest").removeprefix("MedicationRequest/").lower()
    named = reference.child("identifier")
    return "" if named is None else named.text("value").removeprefix("urn:uuid:").lower()


def _is(named: Node, id_: str) -> bool:
    return named.text("value").lower() in (id_, identifier(id_)["value"])


def _is_taken(node: Node) -> bool:
    status = node.code("status")
    if status not in TAKEN + NOT_TAKEN:
        raise Fault(
            node.at("status"),
            f"is none of {', '.join(TAKEN + NOT_TAKEN)}: send it when the clinician has decided",
        )
    return status in TAKEN


def _name(source: Source, called: dict[str, Located]) -> str:
    """What the medicine is called; of an ingredient's RxNorm code alone the ingredient. Raises `Fault`."""
    node = source.node
    what = node.concept("medicationCodeableConcept")
    if what is not None and not what.words:
        codes = {each.code for each in what.codes if each.system == RXNORM}
        known = [ingredient for ingredient, rxcui in names().rxcuis.items() if rxcui in codes]
        if known:
            return known[0]
    name, key, path = medicine(source)
    if key in called:
        name = medication_name(Node(called[key].value, called[key].path))
    if not name:
        raise Fault(path, "points to a Medication that is not sent along and has no display: send it")
    return name
