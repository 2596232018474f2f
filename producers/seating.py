"""Who is to sit: the draws of one submission, from what its source allows and what has been learned."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy.orm import Session

from db.queries import choices, snapshots
from shared.chemistry.snapshot import Chemistry
from shared.choosing import Choice, Dials, choose
from shared.expected_cost import seat_usd
from shared.family_mix import Families
from shared.frozen import Frozen
from shared.registry import Model, Registry
from shared.selection import LEARNED, Candidate, Draw, Strategy, draw
from shared.settings import Settings


class Seating:
    """Draws for each record of one submission; whom a learned strategy chooses is found once a kind."""

    def __init__(
        self,
        session: Session,
        candidates: Sequence[Candidate],
        frozen: Frozen,
        *,
        strategy: str,
        n: int,
        fixed: Sequence[str],
        families: Families,
        registry: Registry,
        settings: Settings,
    ) -> None:
        self._strategy, self._n, self._fixed, self._families = strategy, n, fixed, families
        self._candidates, self._frozen = candidates, frozen
        self._dials = dials_of(settings)
        self._chosen: dict[str, Choice | None] = {}  # by kind of task; None: no history
        self._stored: set[str] = set()  # kinds whose choice lies in the database
        self._chemistry = Chemistry()
        self._usd: Mapping[str, float | None] = {}
        if strategy in LEARNED:
            self._usd = seat_prices([registry[c.name] for c in candidates], n, settings)
            if frozen.chemistry_snapshot_id is not None:
                stored = snapshots.by_id(session, frozen.chemistry_snapshot_id)
                self._chemistry = Chemistry.from_json(stored.body)

    def draw(self, seed: int, kind: str) -> Draw:
        """Who sits in one consultation. Raises `NotEnoughModels`, `SettingsError`."""
        return draw(
            self._strategy,
            self._n,
            self._candidates,
            seed=seed,
            fixed=self._fixed,
            choice=self._choice(kind) if self._strategy in LEARNED else None,
            explore_share=self._dials.explore_share,
            families=self._families,
        )

    def store(self, session: Session, submission_id: uuid.UUID, source_id: uuid.UUID) -> None:
        """Whom the draws were from, and what was promised: a row for each kind of task that is new."""
        for kind in self._chosen.keys() - self._stored:
            self._stored.add(kind)
            choices.store(
                session,
                submission_id,
                source_id,
                kind,
                self._chosen[kind],
                self._frozen.chemistry_snapshot_id,
                strategy=Strategy.RANDOM,
                dials=asdict(self._dials),
            )

    def _choice(self, kind: str) -> Choice | None:
        if kind not in self._chosen:
            self._chosen[kind] = choose(
                self._strategy,
                self._n,
                self._candidates,
                self._chemistry.of(kind),
                self._dials,
                self._usd,
                self._families,
            )
        return self._chosen[kind]


def dials_of(settings: Settings) -> Dials:
    """What weighs how much in a choice."""
    return Dials(
        explore_share=settings.explore_share,
        optimism=settings.optimism,
        penalty_per_minute=settings.penalty_per_minute,
        penalty_per_usd=settings.penalty_per_usd,
        penalty_failure=settings.penalty_failure,
        price_tie=settings.price_tie,
    )


def seat_prices(models: Sequence[Model], n: int, settings: Settings) -> dict[str, float | None]:
    """Expected USD of one seat among n in one consultation, by model; None where its price is not known."""
    prices = {m.name: seat_usd(m, n, reviews_per_answer=settings.reviews_per_answer) for m in models}
    return {name: None if usd is None else float(usd) for name, usd in prices.items()}
