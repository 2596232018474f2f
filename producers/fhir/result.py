"""A result row → its FHIR resources. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from producers.fhir import refusals
from producers.fhir.elements import Resource
from producers.fhir.issues import issues
from producers.fhir.provenance import provenance
from producers.fhir.requests import requests

if TYPE_CHECKING:
    from producers.fhir.told import Told


def resources_of(row: Mapping[str, Any], told: Told | None) -> Iterator[Resource]:
    """The resources of one record; nothing while it is open.

    `row`: as `producers.results` gives it. `told`: the sealed part of it; None where nothing was concluded,
    and where it was erased.
    """
    if row["state"] == "set_aside":
        yield refusals.set_aside(row)
    elif row["state"] in ("failed", "cancelled"):
        yield refusals.ended(row)
    elif row["recommendation"] is None:
        return
    elif told is None:
        yield refusals.erased(row)
    else:
        proposed = requests(row, told)
        starts = dict(zip(row["recommendation"], proposed, strict=False))  # they stand first
        found = issues(row, told, starts)
        yield from proposed
        yield from found
        if proposed or found:
            yield provenance(row, told, [*proposed, *found])
        if not proposed:
            yield refusals.no_request(row)
