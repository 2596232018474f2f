"""One submission while it is stored: what every consultation of it fixes, then its records chunk by chunk."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as insert_if_new
from sqlalchemy.orm import Session

from db.ids import new_id
from db.queries import audit, events, model_versions, prompts, snapshots
from db.queries.bulk import insert_rows
from db.queries.documents import Vault
from db.queries.receiving import Receiving
from db.tables import Base, ClinicalDocument, Consultation, Record, Source, Submission
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
from shared.selection import Strategy, candidate, draw
from shared.settings import Settings

CHUNK = 500
"""Records that are committed together, at most."""
KEPT_ERRORS = 1000
"""Errors that a receipt names; all of them lie with their records."""


class StrictBatch(ConsiliumError):
    """`strict` was asked for and at least one record is bad: nothing was stored."""

    exit_code = 3

    def __init__(self, set_aside: list[RecordError], count: int) -> None:
        super().__init__(f"{count} bad records, and the whole batch was to be right: nothing stored")
        self.set_aside = set_aside


class NothingAccepted(ConsiliumError):
    """Not one record could be accepted, and at least one was to be: the submission is not completed."""

    def __init__(self, set_aside: list[RecordError], count: int) -> None:
        super().__init__(
            f"none of the {count} records can be accepted: nothing is stored"
            if count
            else "there is no record in it: nothing is stored"
        )
        self.set_aside, self.count = set_aside, count


class IdempotencyConflict(ConsiliumError):
    """The key was used before, with another body or other options."""

    exit_code = 4


class Abandoned(ConsiliumError):
    """Too long nothing came of this submission: it was cancelled, and what was stored of it erased."""


@dataclass(frozen=True)
class Order:
    """How a batch is to be worked on."""

    source: str = "local"
    strategy: str = "RANDOM"
    n: int = 3  # of a FIXED ensemble: as many as are named
    models: tuple[str, ...] = ()  # for FIXED
    priority: str = "routine"
    purpose: str = "care"
    seed: int = 0  # of a batch that goes on: its first seed holds
    idempotency_key: str | None = None
    strict: bool = False
    at_least_one: bool = False  # without a record that is accepted it is not completed
    who: str = "cli"  # sends it, for the audit
    budget_usd: Decimal | None = None  # all that it may cost; None: no cap
    families: Families = "any"  # of a drawn ensemble: any, same (all of one) or mixed (as many as can be)
    dials: Mapping[str, float] = field(default_factory=dict)  # of Dials, and grade; else as in the settings
    frozen: Frozen | None = None  # what has been learned; None: what is in force


@dataclass
class Receipt:
    """What became of a batch, or has become of it so far."""

    submission_id: uuid.UUID
    accepted: int = 0
    set_aside: int = 0
    errors: list[RecordError] = field(default_factory=list)  # of those set aside, the first `KEPT_ERRORS`
    known: int = 0  # records that had been stored before, under the same key
    complete: bool = False
    repeated: bool = False  # the same key and body had been accepted before, whole

    @property
    def records(self) -> int:
        """All of them."""
        return self.accepted + self.set_aside


class Batch:
    """One submission while it is stored."""

    def __init__(
        self,
        order: Order,
        settings: Settings,
        registry: Registry,
        vault: Vault,
        told: Callable[[Read, RecordError], object],
    ) -> None:
        if order.purpose in ("evaluation", "training", "demo"):
            order = replace(order, priority="background")
        if order.strategy == Strategy.FIXED:
            order = replace(order, n=len(order.models))
        if order.n == 1 and order.purpose == "care":
            raise SettingsError("one model is no council: for care, ask for an ensemble of at least two")
        self.order = order
        self.settings = settings
        self.registry = registry
        self.vault = vault
        self.receipt = Receipt(new_id())
        self._told = told
        self._dials = {**settings.dials(), **order.dials}
        dials_of(self._dials)  # a bad one is an error of the batch
        self._receiving: Receiving | None = None

    def take(self, session: Session, chunk: list[Read], last: bool) -> None:
        """Store the next records, or find that they are stored already; after the last one all is there."""
        receiving = self._receiving or self._open(session)
        state = receiving.lock(session)
        if state in ("rejected", "cancelled"):
            raise Abandoned(
                "this submission was not completed in time and is cancelled: send it again from its beginning"
            )
        first, line = self.receipt.records, chunk[0].line if chunk else 1
        digest = self._digest(chunk)
        known = receiving.digest(session, first)
        if (known is None and state != "receiving") or (known is not None and known != digest):
            raise IdempotencyConflict(
                f"this idempotency key was used before for another body, which differs at line {line} or in "
                f"at most {CHUNK} records from there on: send new content under a new key"
            )
        if known is None:
            before = self.receipt.set_aside
            self._add(session, chunk)
            aside = self.receipt.set_aside - before
            receiving.add(session, first, digest, records=len(chunk), set_aside=aside)
            self._seating.store(session, receiving.id, receiving.source_id)
        else:
            self._know(chunk, receiving.set_aside(session, first, first + len(chunk)))
        if last:
            self._close(session, receiving, state, first)
        # from now on, not before: had the source or the models been wrong, the next call would say so again
        self._receiving = receiving

    def _open(self, session: Session) -> Receiving:
        """The submission's row, made or found, and what every consultation of it fixes."""
        order = self.order
        source = session.execute(select(Source).where(Source.name == order.source)).scalar_one_or_none()
        if source is None:
            raise SettingsError(f"no source named {order.source!r}: add it with `consilium sources add`")
        self.source_id = source.id
        policy = Policy.model_validate(source.policy)
        candidates = [c for m in self.registry.values() if policy.allows(c := candidate(m))]
        # too few models is an error of the batch, before anything is stored
        drawn = draw(order.strategy, order.n, candidates, seed=0, fixed=order.models, families=order.families)
        if order.budget_usd is not None or source.daily_budget_usd is not None:
            asked = drawn.models if order.strategy == Strategy.FIXED else drawn.allowed
            require_prices(asked, self.registry)
        seed = self._find_or_make(session)
        receiving = Receiving(self.receipt.submission_id, source.id)
        frozen = order.frozen or _fixed_before(session, receiving) or snapshots.in_force(session)
        self._seating = Seating(
            session,
            candidates,
            frozen,
            strategy=order.strategy,
            n=order.n,
            fixed=order.models,
            families=order.families,
            registry=self.registry,
            settings=self.settings,
        )
        fixed = {
            "purpose": order.purpose,
            "priority": PRIORITIES.index(order.priority),
            "protocol": "review",
            "n": order.n,
            "generate_prompt_id": prompts.ensure_prompt(session, GENERATE),
            "review_prompt_id": prompts.ensure_prompt(session, REVIEW),
            "settings_digest": self.settings.digest(),
            **asdict(frozen),
        }
        versions = model_versions.versions_for_seats(session, [self.registry[c.name] for c in candidates])
        self._rows = Rows(
            source.id,
            receiving.id,
            seed,
            fixed,
            versions,
            self._seating.draw,
            self.settings,
            self.registry,
            self.vault,
        )
        return receiving

    def _find_or_make(self, session: Session) -> int:
        """The submission of this key, or a new one; its seed.

        Where another sender makes it at this moment, this waits for his commit, and goes on with his.
        """
        order, key = self.order, self.order.idempotency_key
        digest = None if key is None else self.vault.site_key.digest("idempotency", key)
        asked: dict[str, Any] = {
            "priority": order.priority,
            "purpose": order.purpose,
            "strategy": order.strategy,
            "n": order.n,
            "models": list(order.models),
            "families": order.families,
            "asked_budget_usd": order.budget_usd,  # the cap itself may have been changed since
            "dials": self._dials,
        }
        made = session.execute(
            insert_if_new(Submission)
            .values(
                id=self.receipt.submission_id,
                source_id=self.source_id,
                state="receiving",
                idempotency_digest=digest,
                seed=order.seed,
                budget_usd=order.budget_usd,
                **asked,
            )
            .on_conflict_do_nothing()
            .returning(Submission.id)
        ).scalar_one_or_none()
        if made is not None:
            audit.record(session, order.who, "submit", str(made), self.source_id)
            return order.seed
        found = session.execute(
            select(Submission).where(
                Submission.source_id == self.source_id, Submission.idempotency_digest == digest
            )
        ).scalar_one()
        if found.state != "receiving":  # the settings may have changed since, and nothing is added
            asked["dials"] = {**found.dials, **order.dials}
        other = [name for name, value in asked.items() if getattr(found, name) != value]
        if other:
            raise IdempotencyConflict(
                "this idempotency key belongs to a submission that was begun with another "
                f"{', '.join(name.removeprefix('asked_') for name in other)}: repeat its command with the "
                "same options, or send under a new key"
            )
        self.receipt.submission_id = found.id
        return int(found.seed)

    def _digest(self, chunk: list[Read]) -> bytes:
        """Keyed digest of the records as they were sent, with their lines and how they were read."""
        digest = hashlib.sha256()
        for read in chunk:
            digest.update(f"{read.line} {len(read.text)} {read.reading}".encode())
            digest.update(read.text.encode())
        return self.vault.site_key.digest("chunk", digest.hexdigest())

    def _add(self, session: Session, chunk: list[Read]) -> None:
        """Store some records; what cannot be accepted is set aside."""
        digests = [self._own_id(read.vignette) for read in chunk]
        known = self._sent_before(session, digests)
        rows: dict[type[Base], list[dict[str, Any]]] = {table: [] for table in TABLES}
        for read, digest in zip(chunk, digests, strict=True):
            ordinal, error = self.receipt.records, read.error
            if digest is not None and digest in known:
                error = RecordError(
                    "duplicate_id",
                    "this source has sent that id before, here or earlier: a new vignette needs a new id",
                    path="id",
                    line=read.line,
                )
            if error is not None or read.vignette is None:
                assert error is not None
                error.ordinal = ordinal
                self._aside(read, error)
                made = self._rows.set_aside(read, ordinal, error)
            else:
                if digest is not None:
                    known.add(digest)
                self.receipt.accepted += 1
                made = self._rows.accepted(read, read.vignette, ordinal, digest)
            for table, values in made:
                rows[table].append(values)
        self._store(session, rows)

    def _know(self, chunk: list[Read], set_aside: Iterable[Any]) -> None:
        """These records are stored already: what became of them."""
        first = self.receipt.records
        bad = {row.ordinal: row for row in set_aside}
        self.receipt.known += len(chunk)
        for ordinal, read in enumerate(chunk, start=first):
            row = bad.get(ordinal)
            if row is None:
                self.receipt.accepted += 1
                continue
            error = RecordError(row.error_code, row.error_reason, path=row.error_path, line=row.line)
            error.ordinal = ordinal
            self._aside(read, error)

    def _aside(self, read: Read, error: RecordError) -> None:
        self.receipt.set_aside += 1
        if len(self.receipt.errors) < KEPT_ERRORS:
            self.receipt.errors.append(error)
        self._told(read, error)

    def _store(self, session: Session, rows: dict[type[Base], list[dict[str, Any]]]) -> None:
        for table, values in rows.items():
            if table is ClinicalDocument:
                self.vault.store_many(session, values)
            elif table is Consultation:
                deadline = ("deadline_at", "now() + make_interval(secs => :deadline_s)")
                insert_rows(session, table, values, (deadline,), deadline_s=self._deadline_s())
            elif table is Record:  # what is set aside has other columns
                for state in ("accepted", "set_aside"):
                    insert_rows(session, table, [row for row in values if row["state"] == state])
            else:
                insert_rows(session, table, values)

    def _close(self, session: Session, receiving: Receiving, state: str, first: int) -> None:
        """All is stored: from the commit on it may be dispatched, or is finished if nothing is to be done."""
        if receiving.last(session) != first:
            raise IdempotencyConflict(
                "this idempotency key was used before for a longer body: send the same, or use a new key"
            )
        if self.order.strict and self.receipt.set_aside:
            if state != "receiving":
                raise IdempotencyConflict(
                    "this idempotency key belongs to a submission that was accepted without strict, with "
                    f"{self.receipt.set_aside} bad records: repeat it so, or send under a new key"
                )
            raise StrictBatch(self.receipt.errors, self.receipt.set_aside)
        enough = self.receipt.accepted if self.order.at_least_one else self.receipt.records
        if state == "receiving" and not enough:
            raise NothingAccepted(self.receipt.errors, self.receipt.records)
        self.receipt.complete = True
        self.receipt.repeated = state != "receiving"
        if state == "receiving":
            receiving.complete(session)
            events.finish_submissions(session, receiving.id)

    def _own_id(self, vignette: Vignette | None) -> bytes | None:
        """Keyed digest of the source's own id. Only care refuses a second time: an evaluation may repeat."""
        if vignette is None or self.order.purpose != "care":
            return None
        return self.vault.site_key.digest("own id", str(self.source_id), vignette.id)

    def _sent_before(self, session: Session, digests: list[bytes | None]) -> set[bytes]:
        asked = [digest for digest in digests if digest is not None]
        found = session.execute(
            select(Record.own_id_digest).where(
                Record.source_id == self.source_id, Record.own_id_digest.in_(asked)
            )
        )
        return {bytes(d) for d in found.scalars() if d is not None}

    def _deadline_s(self) -> float | None:
        if self.order.purpose != "care":
            return None
        urgent = self.order.priority == "urgent"
        return self.settings.deadline_urgent_s if urgent else self.settings.deadline_routine_s


def _fixed_before(session: Session, receiving: Receiving) -> Frozen | None:
    """What the submission's first consultations were fixed to; None where none is stored."""
    columns = [getattr(Consultation, each.name) for each in fields(Frozen)]
    row = session.execute(
        select(*columns).where(
            Consultation.submission_id == receiving.id, Consultation.source_id == receiving.source_id
        )
    ).first()
    return None if row is None else Frozen(**row._mapping)
