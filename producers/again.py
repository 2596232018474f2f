"""Stored conclusions made once more with other settings: from answers, grades and problems as they lie there.

No model is asked and no text is opened. With nothing asked for, what is stored comes again, bit for bit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.queries import conclusions, snapshots
from db.queries.conclusions import Evidence, StoredConclusion
from shared.calibration import Calibrator
from shared.consensus import Conclusion, Form, conclude_from
from shared.memory import Memory
from shared.refinement import Dials
from shared.support import Shares

CHUNK = 500
"""Consultations whose answers and grades are held at once."""


@dataclass(frozen=True)
class Changed:
    """What is changed; None: as it was stored."""

    form: Form = "memory"
    plain: bool = False  # plain means: no memory of the reviewers
    reviewers_snapshot_id: uuid.UUID | None = None
    gamma: float | None = None
    severity: float | None = None  # λ
    same_class: float | None = None  # ν
    treats: float | None = None  # κ

    def dials(self, stored: Dials) -> Dials:
        """The stored dials with those that are asked for."""
        return Dials(
            severity=stored.severity if self.severity is None else self.severity,
            same_class=stored.same_class if self.same_class is None else self.same_class,
            treats=stored.treats if self.treats is None else self.treats,
        )


class Again:
    """Concludes again; snapshots' contents are read once each."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._memories: dict[uuid.UUID, Memory] = {}
        self._calibrators: dict[uuid.UUID, Calibrator | None] = {}
        self._shares: dict[uuid.UUID | None, Shares | None] = {}

    def evidence(self, stored: Sequence[StoredConclusion]) -> Iterator[tuple[StoredConclusion, Evidence]]:
        """Each with what was said in it."""
        for at in range(0, len(stored), CHUNK):
            some = stored[at : at + CHUNK]
            ids = [one.consultation_id for one in some]
            yield from zip(some, conclusions.evidence(self._session, ids), strict=True)

    def conclude(self, one: StoredConclusion, said: Evidence, changed: Changed) -> Conclusion:
        """The conclusion with what is changed. What was not refined when it was stored is not refined now."""
        dials, gamma = one.dials
        problem = one.problem
        plain = changed.plain or changed.form == "reference"
        return conclude_from(
            said.answers,
            said.grades,
            Memory() if plain else self._memory(changed.reviewers_snapshot_id or one.reviewers_snapshot_id),
            kind=one.kind,
            calibrator=self._calibrator(one.calibration_snapshot_id),
            form=changed.form,
            gamma=gamma if changed.gamma is None else changed.gamma,
            dials=changed.dials(dials),
            shares=self._shares_of(one.support_snapshot_id),
            problem_of=None if problem is None else lambda _proposed, _stopped: problem,
        )

    def _memory(self, id_: uuid.UUID) -> Memory:
        if id_ not in self._memories:
            self._memories[id_] = Memory.from_json(snapshots.by_id(self._session, id_).body)
        return self._memories[id_]

    def _shares_of(self, id_: uuid.UUID | None) -> Shares | None:
        if id_ not in self._shares:
            self._shares[id_] = conclusions.shares(self._session, id_)
        return self._shares[id_]

    def _calibrator(self, id_: uuid.UUID | None) -> Calibrator | None:
        if id_ is None:
            return None
        if id_ not in self._calibrators:
            self._calibrators[id_] = Calibrator.from_json(snapshots.by_id(self._session, id_).body)
        return self._calibrators[id_]
