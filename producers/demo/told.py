"""What happened in the demo: the facts that its last lines and its page are made of."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producers.demo.score import Scored

FEATURED = 1
"""Place of the case that is shown in full (0-based): a sore throat with a penicillin allergy."""


@dataclass
class Told:
    """What happened, for the last lines and the page."""

    submission: uuid.UUID
    killed: str | None
    seconds: float
    scored: list[Scored]
    calls: dict[str, Any]
    overlaps_at_the_panel: int
    flower_url: str
    home: Path

    @property
    def featured(self) -> Scored:
        """The case that is shown in full."""
        return self.scored[FEATURED]

    @property
    def paid_twice(self) -> int:
        """Calls made although answered or while another was open, by our books and the panel's ledger."""
        return int(self.calls["dup"] + self.calls["overlap"]) + self.overlaps_at_the_panel

    @property
    def verdicts(self) -> list[str]:
        """Of each case: the council against its best member."""
        return [one.against_best_member for one in self.scored]

    @property
    def right(self) -> int:
        """Cases in which the council was right."""
        return sum(bool(one.council_right) for one in self.scored)

    @property
    def members_right(self) -> float:
        """The same for its members, on average."""
        return sum(one.members_right / max(one.members, 1) for one in self.scored)

    def summary(self) -> str:
        """The line that says what was promised."""
        ended = sum(one.state != "open" for one in self.scored)
        review = sum(one.state == "needs_review" for one in self.scored)
        return (
            f"{1 if self.killed else 0} worker killed · {ended} of {len(self.scored)} ended ({review} for "
            f"review) · calls paid twice: {self.paid_twice} · calls that died with their worker: "
            f"{self.calls['lost']}"
        )
