"""Accepting a batch: everything that is needed later is committed before anything is acknowledged.

One transaction a batch: stored whole or not at all. For each accepted record: its data key, the sealed
vignette, the consultation with its drawn ensemble, the seats, and the answers they owe.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from db.ids import new_id
from db.queries import events, model_versions, prompts, snapshots
from db.queries.documents import Vault
from db.tables import ClinicalDocument, Consultation, Record, Source, Submission
from producers.readers.record import Read
from producers.rows import TABLES, Rows
from producers.seating import Seating
from shared.consensus import dials_of
from shared.errors import ConsiliumError, RecordError, SettingsError
from shared.expected_cost import require_prices
from shared.family_mix import Families
from shared.frozen import Frozen
from shared.policy import Policy
from shared.prompts import GENERATE, REVIEW
from shared.registry import Registry
from shared.schemas import PRIORITIES, Vignette
from shared.selection import Strategy, candidate
from shared.settings import Settings

CHUNK = 500
"""Records a round trip."""


class StrictBatch(ConsiliumError):
    """`strict` was asked for and at least one record is bad: nothing was stored."""

    exit_code = 3

    def __init__(self, set_aside: list[RecordError]) -> None:
        super().__init__(f"{len(set_aside)} bad records, and the whole batch was to be right: nothing stored")
        self.set_aside = set_aside


class IdempotencyConflict(ConsiliumError):
    """The key was used before, with another body."""

    exit_code = 4


@dataclass(frozen=True)
class Order:
    """How a batch is to be worked on."""

    source: str = "local"
    strategy: str = "RANDOM"
    n: int = 3  # of a FIXED ensemble: as many as are named
    models: tuple[str, ...] = ()  # for FIXED
    priority: str = "routine"
    purpose: str = "care"
    seed: int = 0
    idempotency_key: str | None = None
    strict: bool = False
    budget_usd: Decimal | None = None  # all that it may cost; None: no cap
    families: Families = "any"  # of a drawn ensemble: any, same (all of one) or mixed (as many as can be)
    dials: Mapping[str, float] = field(default_factory=dict)  # of Dials, and grade; else as in the settings
    frozen: Frozen | None = None  # what has been learned; None: what is in force


@dataclass
class Receipt:
    """What became of a batch."""

    submission_id: uuid.UUID
    accepted: int = 0
    errors: list[RecordError] = field(default_factory=list)
    repeated: bool = False  # the same key and body had been accepted before


def accept(
    session: Session,
    records: Iterable[Read],
    order: Order,
    *,
    body_digest: str,
    settings: Settings,
    registry: Registry,
    vault: Vault,
) -> Receipt:
    """Store a batch in the session's transaction.

    Raises `SettingsError` (unknown source, or a budget and a model without a price), `NotEnoughModels` (the
    source's policy leaves too few),
    `StrictBatch`, `IdempotencyConflict`. A record that cannot be accepted is set aside with its reason, and
    the rest goes on.
    """
    source = session.execute(select(Source).where(Source.name == order.source)).scalar_one_or_none()
    if source is None:
        raise SettingsError(f"no source named {order.source!r}: add it with `consilium sources add`")
    if order.purpose in ("evaluation", "training", "demo"):
        order = replace(order, priority="background")
    if order.strategy == Strategy.FIXED:
        order = replace(order, n=len(order.models))
    if order.n == 1 and order.purpose == "care":
        raise SettingsError("one model is no council: for care, ask for an ensemble of at least two")
    body = vault.site_key.digest("body", body_digest)
    if order.idempotency_key is not None:
        known = _known(session, source.id, vault, order.idempotency_key, body)
        if known is not None:
            return known
    batch = _Batch(session, source, order, settings, registry, vault)
    receipt = Receipt(batch.submission_id)
    batch.open(body)
    reads = iter(records)
    while chunk := list(itertools.islice(reads, CHUNK)):
        batch.add(chunk, receipt)
    if order.strict and receipt.errors:
        raise StrictBatch(receipt.errors)
    batch.close(receipt)
    return receipt


def _known(session: Session, source_id: uuid.UUID, vault: Vault, key: str, body: bytes) -> Receipt | None:
    digest = vault.site_key.digest("idempotency", key)
    found = session.execute(
        select(Submission).where(Submission.source_id == source_id, Submission.idempotency_digest == digest)
    ).scalar_one_or_none()
    if found is None:
        return None
    if found.body_digest != body:
        raise IdempotencyConflict(
            "this idempotency key was used before for another body: send new content under a new key"
        )
    receipt = Receipt(found.id, accepted=found.records - found.set_aside, repeated=True)
    set_aside = select(Record).where(
        Record.submission_id == found.id, Record.source_id == source_id, Record.state == "set_aside"
    )
    for r in session.execute(set_aside.order_by(Record.ordinal)).scalars():
        error = RecordError(r.error_code or "", r.error_reason or "", path=r.error_path or "", line=r.line)
        error.ordinal = r.ordinal
        receipt.errors.append(error)
    return receipt


class _Batch:
    """One submission while it is stored."""

    def __init__(
        self,
        session: Session,
        source: Source,
        order: Order,
        settings: Settings,
        registry: Registry,
        vault: Vault,
    ) -> None:
        self.session = session
        self.source_id = source.id
        self.order = order
        self.settings = settings
        self.registry = registry
        self.vault = vault
        self.submission_id = new_id()
        self.dials = {**settings.dials(), **order.dials}
        dials_of(self.dials)  # a bad one is an error of the batch
        self._policy = Policy.model_validate(source.policy)
        self._candidates = [c for m in registry.values() if self._policy.allows(c := candidate(m))]
        self._ordinals = itertools.count()
        self._ids: set[bytes] = set()
        self._frozen = order.frozen or snapshots.in_force(session)
        self._seating = Seating(
            session,
            self._candidates,
            self._frozen,
            strategy=order.strategy,
            n=order.n,
            fixed=order.models,
            families=order.families,
            registry=registry,
            settings=settings,
        )
        # too few models is an error of the batch, before anything is read
        drawn = self._seating.possible()
        if order.budget_usd is not None or source.daily_budget_usd is not None:
            asked = drawn.models if order.strategy == Strategy.FIXED else drawn.allowed
            require_prices(asked, registry)

    def open(self, body_digest: bytes) -> None:
        """The submission's row, and what every consultation of it fixes."""
        order, key = self.order, self.order.idempotency_key
        self.session.execute(
            insert(Submission).values(
                id=self.submission_id,
                source_id=self.source_id,
                state="receiving",
                idempotency_digest=None if key is None else self.vault.site_key.digest("idempotency", key),
                body_digest=body_digest,
                priority=order.priority,
                purpose=order.purpose,
                strategy=order.strategy,
                n=order.n,
                models=list(order.models),
                seed=order.seed,
                budget_usd=order.budget_usd,
                dials=self.dials,
            )
        )
        fixed = {
            "purpose": order.purpose,
            "priority": PRIORITIES.index(order.priority),
            "protocol": "review",
            "n": order.n,
            "generate_prompt_id": prompts.ensure_prompt(self.session, GENERATE),
            "review_prompt_id": prompts.ensure_prompt(self.session, REVIEW),
            "settings_digest": self.settings.digest(),
            **asdict(self._frozen),
        }
        # of all who may be drawn, in one order: two batches that make them at once do not lock each other out
        versions = {
            name: model_versions.version_for_seat(self.session, self.registry[name])
            for name in sorted(c.name for c in self._candidates)
        }
        self._rows = Rows(
            self.source_id,
            self.submission_id,
            order.seed,
            fixed,
            versions,
            self._seating.draw,
            self.settings,
            self.registry,
            self.vault,
        )

    def add(self, chunk: list[Read], receipt: Receipt) -> None:
        """Store some records; what cannot be accepted is set aside."""
        sent_before = self._sent_before(chunk)
        rows: dict[type, list[dict[str, Any]]] = {table: [] for table in TABLES}
        for read in chunk:
            ordinal = next(self._ordinals)
            error = read.error
            digest = self._own_id(read.vignette)
            if digest is not None and (digest in sent_before or digest in self._ids):
                error = RecordError(
                    "duplicate_id",
                    "this source has sent that id before: a new vignette needs an id of its own",
                    path="id",
                    line=read.line,
                )
            if error is not None or read.vignette is None:
                assert error is not None
                error.ordinal = ordinal
                receipt.errors.append(error)
                for table, values in self._rows.set_aside(read, ordinal, error):
                    rows[table].append(values)
                continue
            if digest is not None:
                self._ids.add(digest)
            receipt.accepted += 1
            for table, values in self._rows.accepted(read, read.vignette, ordinal, digest):
                rows[table].append(values)
        self._store(rows)

    def _store(self, rows: dict[type, list[dict[str, Any]]]) -> None:
        for table, values in rows.items():
            if not values:
                continue
            if table is ClinicalDocument:
                self.vault.store(self.session, values)
            elif table is Consultation:
                self.session.execute(insert(table).values(deadline_at=self._deadline()), values)
            else:
                self.session.execute(insert(table), values)

    def close(self, receipt: Receipt) -> None:
        """All is stored: from the commit on it may be dispatched, or is finished if nothing is to be done."""
        self.session.execute(
            update(Submission)
            .where(Submission.id == self.submission_id)
            .values(
                state="open", records=receipt.accepted + len(receipt.errors), set_aside=len(receipt.errors)
            )
        )
        self._seating.store(self.session, self.submission_id, self.source_id)
        events.finish_submissions(self.session, self.submission_id)

    def _own_id(self, vignette: Vignette | None) -> bytes | None:
        """Keyed digest of the source's own id. Only care refuses a second time: an evaluation may repeat."""
        if vignette is None or self.order.purpose != "care":
            return None
        return self.vault.site_key.digest("own id", str(self.source_id), vignette.id)

    def _sent_before(self, chunk: list[Read]) -> set[bytes]:
        digests = [d for read in chunk if (d := self._own_id(read.vignette)) is not None]
        found = self.session.execute(
            select(Record.own_id_digest).where(
                Record.source_id == self.source_id, Record.own_id_digest.in_(digests)
            )
        )
        return {bytes(d) for d in found.scalars() if d is not None}

    def _deadline(self) -> Any:
        if self.order.purpose != "care":
            return None
        seconds = (
            self.settings.deadline_urgent_s
            if self.order.priority == "urgent"
            else self.settings.deadline_routine_s
        )
        return func.now() + timedelta(seconds=seconds)
