"""A clinician's decision on a proposal → what is known to be right afterwards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from shared.errors import RecordError
from shared.measures import in_codes
from shared.schemas import Gold, GoldItem

Decision = Literal["accepted", "edited", "rejected"]


def decided(
    said: Decision | None, names: Sequence[str] | None, proposed: Collection[str], key: bytes
) -> tuple[Decision, Gold]:
    """The decision, and gold in ingredient codes: what was given is required, the rest of ours is not.

    `said`: None where it follows from what was given, `names`; these may be missing where they follow from
    the decision. `proposed` is the refined list; `key` that under which unknown drugs are stored. Raises
    `RecordError` where the two contradict each other or tell too little.
    """
    ours = set(proposed)
    given = None if names is None else set(in_codes(Gold(acceptable=list(names)), key).acceptable)
    if given is None:
        given = _following(said, ours)
    if said == "accepted" and given != ours:
        raise RecordError("decision", "accepted, but the list is not what was proposed", path="list")
    if said == "rejected" and given & ours:
        raise RecordError("decision", "rejected, but the list holds what was proposed", path="list")
    gold = Gold(
        required=[GoldItem(any_of=[code]) for code in sorted(given)],
        never=sorted(ours - given),
    )
    if said is None:
        said = "accepted" if given == ours else "edited" if given else "rejected"
    return said, gold


def _following(said: Decision | None, ours: set[str]) -> set[str]:
    """What was given where only the decision is known."""
    if said == "accepted":
        return ours
    if said == "rejected" and ours:
        return set()
    raise RecordError("list", "is missing: say what was given", path="list")
