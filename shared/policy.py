"""A source decides who may read its patients: checked at the draw, at substitution and in the claim."""

from __future__ import annotations

from typing import Literal

from shared.schemas import Strict
from shared.selection import Candidate


class Policy(Strict):
    """Which models may read a source's patients; without more, local and simulated ones.

    `allow`: "local" and "remote" are where a model runs, "simulated" is any simulated model, wherever it
    runs. `deny`: names that may never. `only`: if given, no other names may. All three must agree.

    `mask`: what a remote model, simulated or not, sees of who the patient is. strict: what the record gives
    and what patterns find is masked (`shared.masking`); structured: what the record gives; off: nothing is.
    """

    allow: tuple[Literal["local", "simulated", "remote"], ...] = ("local", "simulated")
    deny: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    mask: Literal["strict", "structured", "off"] = "strict"

    def allows(self, candidate: Candidate) -> bool:
        """Whether this model may see a patient of the source."""
        kinds = {candidate.location, "simulated"} if candidate.simulated else {candidate.location}
        named = self.only is None or candidate.name in self.only
        return named and candidate.name not in self.deny and not kinds.isdisjoint(self.allow)
