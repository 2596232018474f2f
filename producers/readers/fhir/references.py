"""References between resources, as one key a resource: "Patient/f101", whatever way it is written.

Relative, absolute, versioned, `urn:uuid:` and logical references (FHIR R4, 2.3 References). The server's
address is left out of the key: an export mixes absolute and relative ones.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from producers.readers.fhir.node import Node, flat

_RELATIVE = re.compile(r"(?:^|/)([A-Z][A-Za-z]{1,63}/[^/\s?#|]{1,200})(?:/_history/[^/]+)?$")
OWNERS = ("subject", "patient", "beneficiary", "for")
_PEOPLE = ("Practitioner", "RelatedPerson", "Organization", "Location", "Person", "Patient", "CareTeam")
_PLACES = ("serviceProvider", "managingOrganization", "custodian", "location", "organization", "facility")
_DEEPEST = 40


def resolve(written: str, kind: str, aliases: Mapping[str, str]) -> str:
    """The key of a reference as written; `kind` is what a bare `urn:uuid:` is taken for."""
    written = written.strip()
    if written in aliases:
        return aliases[written]
    if written.startswith(("urn:uuid:", "urn:oid:")):
        return sys.intern(f"{kind}/{written.rsplit(':', 1)[1]}")
    match = _RELATIVE.search(written)
    return sys.intern(match[1]) if match else written


def key_of(node: Node | None, kind: str, aliases: Mapping[str, str]) -> str:
    """The key that a Reference element points to, "" if it points nowhere. Raises `Fault`."""
    if node is None:
        return ""
    if written := node.text("reference"):
        return resolve(written, kind, aliases)
    identifier = node.child("identifier")
    if identifier is not None and (value := identifier.text("value")):
        return f"{kind}?identifier={identifier.text('system')}|{value}"
    return ""


def reference(node: Node, name: str, kind: str, aliases: Mapping[str, str]) -> str:
    """The key of the Reference called `name`, "" if there is none; a bare string is taken as one."""
    if isinstance(node.value.get(name), str):
        return resolve(node.text(name), kind, aliases)
    return key_of(node.child(name), kind, aliases)


def owner_of(node: Node, aliases: Mapping[str, str]) -> str:
    """The key of whom a resource is about, "" if it does not say. Raises `Fault`."""
    for name in OWNERS:
        if node.has(name) and (found := reference(node, name, "Patient", aliases)):
            return found
    return ""


def mentioned(value: Any, aliases: Mapping[str, str], depth: int = 0) -> Iterator[tuple[str, str, bool]]:
    """(key, display, is a place) of every reference to a person, a place or a Medication in a resource."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for each in value:
            yield from mentioned(each, aliases, depth + 1)
    elif isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, dict) and ("reference" in each or "display" in each):
                yield from _one(name, each, aliases)
            yield from mentioned(each, aliases, depth + 1)


def _one(name: str, each: dict[str, Any], aliases: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    written, display, kind = each.get("reference"), each.get("display"), each.get("type")
    medicine = name in ("medicationReference", "medication")
    key = resolve(written, "Medication" if medicine else "", aliases) if isinstance(written, str) else ""
    if medicine:
        yield key, "", False  # no name of a person, but what the record cannot do without
        return
    kind = kind if isinstance(kind, str) else key.partition("/")[0].partition("?")[0]
    if kind.startswith(_PEOPLE) or name in _PLACES:
        place = kind in ("Organization", "Location") or name in _PLACES
        yield key, flat(display) if isinstance(display, str) else "", place
