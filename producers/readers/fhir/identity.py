"""Who a resource names: names, identifiers, addresses, contacts of people and places, for masking alone."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from producers.readers.fhir.node import Fault, Node
from shared.schemas import Identity

_UUID = re.compile(r"(?:urn:uuid:)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MOST, _LONGEST = 200, 300
_NAMES = ("patient-mothersMaidenName",)
_PLACES = ("patient-birthPlace",)


@dataclass
class Who:
    """What tells who somebody is; ordered, without repeats."""

    names: dict[str, None] = field(default_factory=dict)
    identifiers: dict[str, None] = field(default_factory=dict)
    addresses: dict[str, None] = field(default_factory=dict)
    contacts: dict[str, None] = field(default_factory=dict)

    def add(self, other: Who) -> None:
        """Take over what another is known by."""
        self.names |= other.names
        self.identifiers |= other.identifiers
        self.addresses |= other.addresses
        self.contacts |= other.contacts

    def identity(
        self, birth_date: dt.date | None, date: dt.date, *, patient: str, encounter: str | None
    ) -> Identity:
        """As it is sealed with the vignette: the first 200 of each, the patient's own before others'."""
        return Identity(
            names=_few(self.names),
            identifiers=_few(self.identifiers),
            addresses=_few(self.addresses),
            contacts=_few(self.contacts),
            birth_date=birth_date,
            date=date,
            patient=patient,
            encounter=encounter,
        )


def who_is(node: Node) -> Who:
    """What a Patient, RelatedPerson, Practitioner, Organization or Location is known by. Raises `Fault`."""
    who = Who()
    if isinstance(node.value.get("name"), str):  # of a place
        who.addresses[node.text("name")] = None
    else:
        _names(node, who)
    for alias in node.texts("alias") if node.has("alias") else []:
        who.addresses[alias] = None
    _reached(node, who)
    for each in node.children("identifier"):
        _identifier(each.text("value"), who)
    identity = node.text("id")
    if identity and not _UUID.fullmatch(identity):
        _identifier(identity, who)
    for contact in node.children("contact"):
        _names(contact, who)
        _reached(contact, who)
    for extension in node.children("extension"):
        url = extension.text("url")
        if url.endswith(_NAMES) and extension.has("valueString"):
            _name(extension.text("valueString"), who)
        if url.endswith(_PLACES) and (place := extension.child("valueAddress")) is not None:
            _address(place, who)
    return who


def named(display: str, place: bool, who: Who) -> None:
    """Take over the display of a reference: the name of a person, or of a place."""
    if not display:
        return
    if place:
        who.addresses[display] = None
    else:
        _name(display, who)


def _names(node: Node, who: Who) -> None:
    for name in node.children("name"):
        given, family = name.texts("given"), name.texts("family")
        whole = " ".join([*given, *family])
        for each in (name.text("text"), whole, *given, *family):
            _name(each, who)
        if len(given) > 1 and family:  # as notes have it, without the middle names
            _name(f"{given[0]} {family[0]}", who)


def _name(name: str, who: Who) -> None:
    if sum(c.isalpha() for c in name) > 1:  # an initial alone would mask every such letter
        who.names[name] = None


def _identifier(value: str, who: Who) -> None:
    """Short ones are left out: masking "450" would take away every dose of 450 mg."""
    if len(value) >= 5 or (len(value) == 4 and not value.isdigit()):
        who.identifiers[value] = None


def _reached(node: Node, who: Who) -> None:
    for address in node.children("address"):
        _address(address, who)
    for telecom in node.children("telecom"):
        if value := telecom.text("value"):
            who.contacts[value] = None


def _address(address: Node, who: Who) -> None:
    parts = [address.text("text"), *address.texts("line")]
    for part in (*parts, *(address.text(each) for each in ("city", "district", "postalCode"))):
        if len(part) > 1:
            who.addresses[part] = None


def _few(found: Iterable[str]) -> list[str]:
    return [kept for each in found if (kept := each[:_LONGEST].strip())][:_MOST]


def tolerant(node: Node) -> Who:
    """As `who_is`, of somebody other than the patient: parts that cannot be read are left out."""
    who = Who()
    for name in ("name", "address", "telecom", "identifier", "contact", "id"):
        if node.has(name):
            try:
                who.add(who_is(Node({name: node.value[name]}, node.path)))
            except Fault:
                continue
    return who
