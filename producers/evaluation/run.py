"""Runs an evaluation through the real pipeline: trained, frozen, then each arm once a repeat.

Every submission's idempotency key follows from the evaluation's digest, and what was frozen stays so: the
same command goes on after any interruption, and nothing is paid twice.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import recompute
from db.queries import evaluations, reports, snapshots
from db.queries.documents import Vault
from db.queries.events import CHANNEL
from db.tables import Source
from producers.cli.common import database, listening
from producers.evaluation.spec import TRAINING, Arm, Material, Meta, Spec, submission_seed
from producers.intake import Order, accept
from producers.nudge import nudge
from shared.errors import ConsiliumError, SettingsError
from shared.frozen import Frozen
from shared.policy import Policy
from shared.registry import Registry
from shared.selection import Candidate, Strategy, candidate, draw
from shared.settings import Settings

TRAINING_SIZE = 3
POLL_S = 1.0

Progress = Callable[[str, int, int], None]
"""Told now and then: what goes on, consultations ended, all of them."""


class Leak(ConsiliumError):
    """Vignettes of the test are among what chooses or calibrates."""

    exit_code = 2


class Run:
    """One evaluation while it goes on. Raises what `accept` raises, and `Leak`."""

    def __init__(
        self, spec: Spec, *, settings: Settings, registry: Registry, vault: Vault, progress: Progress
    ) -> None:
        self.spec = spec
        self._settings = settings
        self._registry = registry
        self._vault = vault
        self._progress = progress
        self._test = self._digests(spec.vignettes)
        if spec.train is not None and (both := set(self._test) & set(self._digests(spec.train))):
            raise Leak(
                f"{len(both)} of the {len(set(self._test))} vignettes are among the training ones, so the "
                "result would say nothing: train with others; nothing was submitted"
            )
        with database() as session:
            allowed = self._allowed(session)
            self.arms: list[Arm] = spec.arms([c.name for c in allowed])
            for arm in self.arms:  # one that cannot be drawn is said before anything is paid
                draw(arm.strategy, arm.n, allowed, seed=0, fixed=arm.models, families=arm.families)
            self._digest = spec.digest(self.arms)
            row = evaluations.opened(session, self._digest, spec.to_json(self.arms))
        self.id: uuid.UUID = row["id"]

    def go_on(self) -> Meta:
        """Do what is not done yet, wait for it, and tell what a report says beside its figures."""
        frozen = self._frozen()
        for repeat in range(1, self.spec.repeats + 1):
            for arm in self.arms:
                self._submit(arm, repeat, self.spec.vignettes, "evaluation", frozen)
        ids = self._submissions()
        self._wait("evaluating", [s for (arm, _), s in ids.items() if arm != TRAINING])
        with database() as session:
            evaluations.finish(session, self.id)
            return self._meta(session, frozen)

    def _frozen(self) -> Frozen:
        """What chooses and calibrates: learned from the training alone, else what the site has in force."""
        with database() as session:
            row = evaluations.by_id(session, self.id)
            if row["frozen_at"] is not None:
                return _of(row)
        training: list[uuid.UUID] = []
        if self.spec.train is not None:
            arm = Arm(TRAINING, Strategy.RANDOM.value, TRAINING_SIZE)
            training = [self._submit(arm, 0, self.spec.train, "training", None)]
            self._wait("training", training)
        with database() as session:
            frozen = (
                recompute.freeze(session, self._settings, scope=f"evaluation:{self.id}", submissions=training)
                if training
                else snapshots.in_force(session)
            )
            if seen := evaluations.overlap(session, frozen, training, self._test):
                raise Leak(
                    f"what is in force has learned from {seen} of these vignettes, so the result would say "
                    "nothing: evaluate others, or learn anew with --train FILE or --train-generated 300"
                )
            evaluations.freeze(session, self.id, frozen)
        return frozen

    def _submit(
        self, arm: Arm, repeat: int, what: Material, purpose: str, frozen: Frozen | None
    ) -> uuid.UUID:
        """One submission, accepted once whatever happens; on return it is stored and may begin."""
        order = Order(
            source=self.spec.source,
            strategy=arm.strategy,
            n=arm.n,
            models=arm.models,
            families=arm.families,
            purpose=purpose,
            seed=submission_seed(self.spec.seed, repeat),
            idempotency_key=f"evaluation {self._digest} {arm.name} {repeat}",
            strict=True,
            frozen=frozen,
        )
        with database() as session:
            receipt = accept(
                session,
                what.records(),
                order,
                settings=self._settings,
                registry=self._registry,
                vault=self._vault,
            )
            evaluations.add_arm(
                session,
                self.id,
                arm.name,
                repeat,
                source_id=self._source(session).id,
                submission_id=receipt.submission_id,
            )
        if not receipt.repeated:
            nudge(self._settings)  # where the broker is away, the sweep finds it
        return receipt.submission_id

    def _wait(self, what: str, ids: Sequence[uuid.UUID]) -> None:
        """Until all has ended: events are awaited, counts asked at most once in `POLL_S`."""
        with listening(CHANNEL) as connection:
            while True:
                asked_at = time.monotonic()
                with database() as session:
                    accepted, ended = evaluations.progress(session, ids)
                self._progress(what, ended, accepted)
                if ended == accepted:
                    return
                for _event in connection.notifies(timeout=POLL_S, stop_after=1):
                    time.sleep(max(0.0, POLL_S - (time.monotonic() - asked_at)))

    def _submissions(self) -> dict[tuple[str, int], uuid.UUID]:
        with database() as session:
            return evaluations.submissions(session, self.id)

    def _meta(self, session: Session, frozen: Frozen) -> Meta:
        found = evaluations.submissions(session, self.id)
        training = [s for (arm, _), s in found.items() if arm == TRAINING]
        ids = [s for (arm, _), s in found.items() if arm != TRAINING]
        calls = [reports.call_counts(session, submission) for submission in (*training, *ids)]
        accepted, ended = evaluations.progress(session, ids)
        return Meta(
            evaluation=self._digest[:12],
            vignettes=len(self._test),
            arms=tuple(arm.name for arm in self.arms),
            repeats=self.spec.repeats,
            seed=self.spec.seed,
            accepted=accepted,
            ended=ended,
            paid_twice=sum(row["dup"] + row["overlap"] for row in calls),
            calls=sum(row["calls"] for row in calls),
            trained_on=evaluations.progress(session, training)[0],
            training=None if self.spec.train is None else self.spec.train.name,
            overlap=evaluations.overlap(session, frozen, training, self._test),
            snapshots=evaluations.numbers(session, frozen),
            simulated=evaluations.simulated(session, ids),
        )

    def _digests(self, what: Material) -> list[bytes]:
        """The keyed digests of the vignettes, as consultations store them."""
        texts = [read.vignette.vignette for read in what.records() if read.vignette is not None]
        return [self._vault.site_key.digest("vignette", text) for text in texts]

    def _source(self, session: Session) -> Source:
        found = session.execute(select(Source).where(Source.name == self.spec.source)).scalar_one_or_none()
        if found is None:
            raise SettingsError(f"no source named {self.spec.source!r}: add it with `consilium sources add`")
        return found

    def _allowed(self, session: Session) -> list[Candidate]:
        policy = Policy.model_validate(self._source(session).policy)
        return [c for m in self._registry.values() if policy.allows(c := candidate(m))]


def _of(row: dict[str, uuid.UUID]) -> Frozen:
    return Frozen(**{each.name: row[each.name] for each in fields(Frozen)})
