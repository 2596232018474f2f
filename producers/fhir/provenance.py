"""The Provenance that names the ensemble (FHIR R4, 6.3 Provenance)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from producers.fhir.elements import Resource, coded, id_of, identifier, instant, meta, reference, text

if TYPE_CHECKING:
    from producers.fhir.told import Told

_AUTHOR = coded("provenance-participant-type", "author", "Author")
_ASSEMBLER = coded("provenance-participant-type", "assembler", "Assembler")


def provenance(row: Mapping[str, Any], told: Told, targets: Sequence[Resource]) -> Resource:
    """Of all that came of a consultation (at least one resource): each model version is an author."""
    authors = dict.fromkeys((answer.model, answer.version) for answer in told.answers)
    return {
        "resourceType": "Provenance",
        "id": id_of(row["consultation"], "Provenance"),
        **meta(row["simulated"]),
        "target": [reference(each) for each in targets],
        "recorded": instant(told.concluded_at),
        "activity": coded("v3-DataOperation", "CREATE", "create"),
        "agent": [
            *(_agent(_AUTHOR, _version(*author), row["simulated"]) for author in authors),
            _agent(_ASSEMBLER, f"Consilium, consensus {told.form}", False),
        ],
        "entity": [
            {
                "role": "source",
                "what": {"identifier": identifier(row["consultation"]), "display": "the consultation"},
            }
        ],
    }


def _version(model: str, returned: str | None) -> str:
    return text(model, f"({returned})" if returned and returned != model else None)


def _agent(type_: Resource, name: str, simulated: bool) -> Resource:
    who = {"type": "Device", "identifier": {"value": name}, "display": name}
    if simulated:
        who["display"] = f"{name}, simulated"
    return {"type": type_, "who": who}
