"""What a consultation fixes of what has been learned: the snapshots in force when it was accepted."""

from __future__ import annotations

import uuid
from dataclasses import dataclass


@dataclass(frozen=True)
class Frozen:
    """Ids of snapshots; None: there is none, nothing has been learned of it."""

    reviewers_snapshot_id: uuid.UUID
    chemistry_snapshot_id: uuid.UUID | None = None
    calibration_snapshot_id: uuid.UUID | None = None
    support_snapshot_id: uuid.UUID | None = None
