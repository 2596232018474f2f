"""The second pass: what is set aside, as FHIR that can be mended and sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from producers.readers.fhir.node import Fault, Node
from producers.readers.fhir.references import owner_of
from producers.readers.fhir.source import Inputs, Located, dumped, key_of_resource, resources
from producers.readers.record import Read
from shared.errors import RecordError

MAX_HELD = 64 * 1024 * 1024
"""Bytes of resources that are held at once, about: more are fetched in further passes."""


@dataclass(frozen=True)
class Waiting:
    """A record that is set aside: why, in which file, how long it is, what it refers to."""

    error: RecordError
    file: str = field(repr=False)
    size: int
    references: frozenset[str] = field(repr=False)


@dataclass
class _Sent:
    """What was sent of a record: its resources, or the requests of CDS hooks that hold them."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    requests: dict[str, None] = field(default_factory=dict)

    def text(self) -> str:
        """On one line: a resource that stands alone, a Bundle, a request; an array if it is several."""
        parts = list(self.requests)
        if len(self.entries) == 1 and "fullUrl" not in self.entries[0]:
            parts.append(dumped(self.entries[0]["resource"]))
        elif self.entries:
            parts.append(dumped({"resourceType": "Bundle", "type": "collection", "entry": self.entries}))
        return parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]" if parts else ""


def texts(
    again: Callable[[], Inputs] | None, waiting: Mapping[str, Waiting], gone: Callable[[Located], bool]
) -> Iterator[Read]:
    """The records that wait, with their resources as text but for those that are `gone`, in their order.

    `again` gives the inputs from their beginning; without it the text stays empty.
    """
    batch: dict[str, Waiting] = {}
    held = 0
    for owner, each in waiting.items():
        if batch and held + each.size > MAX_HELD:
            yield from _fetched(again, batch, gone)
            batch, held = {}, 0
        batch[owner] = each
        held += each.size
    if batch:
        yield from _fetched(again, batch, gone)


def _fetched(
    again: Callable[[], Inputs] | None, batch: Mapping[str, Waiting], gone: Callable[[Located], bool]
) -> Iterator[Read]:
    sent = {owner: _Sent() for owner in batch}
    referring: dict[str, list[str]] = {}
    for owner, each in batch.items():
        for key in each.references:
            referring.setdefault(key, []).append(owner)
    for found in resources(again()) if again is not None else ():
        if not isinstance(found, Located) or gone(found):
            continue
        for owner in _owners(found, referring):
            if owner not in batch:
                continue
            if found.request:
                sent[owner].requests[found.request] = None
            else:
                url = {"fullUrl": found.url} if found.url else {}
                sent[owner].entries.append({**url, "resource": found.value})
    for owner, each in batch.items():
        yield Read(each.error.line or 1, None, each.error, sent[owner].text(), each.file)


def _owners(found: Located, referring: Mapping[str, list[str]]) -> list[str]:
    """Whose a resource is: its patient's, or that of those who refer to it."""
    key = key_of_resource(found)
    if found.kind == "Patient":
        return [key or found.nameless]
    try:
        owner = owner_of(Node(found.value, found.path), found.aliases)
    except Fault:
        owner = ""
    if not owner.startswith("Patient") and len(found.patients) == 1:
        owner = found.patients[0]
    return [owner, *(each for each in referring.get(key, ()) if each != owner)]
