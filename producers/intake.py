"""Accepting a batch: everything that is needed later is committed before anything is acknowledged.

`accept` stores a batch in one transaction, whole or not at all. `receive` commits it in chunks: the
submission is `receiving`, and nothing of it is dispatched, until the last one. Each chunk's keyed digest is
kept, so a repeat under the same idempotency key goes on after what is stored, and content that differs is
found by its line.

For each accepted record: its data key, the sealed vignette, the consultation with its drawn ensemble, the
seats, and the answers they owe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from sqlalchemy.orm import Session

from db.queries import model_versions, prompts
from db.queries.documents import Vault
from producers.batch import (
    CHUNK,
    Abandoned,
    Batch,
    IdempotencyConflict,
    NothingAccepted,
    Order,
    Receipt,
    StrictBatch,
)
from producers.readers.record import Read
from shared.errors import RecordError
from shared.prompts import GENERATE, REVIEW
from shared.registry import Registry
from shared.settings import Settings

__all__ = [
    "Abandoned",
    "IdempotencyConflict",
    "NothingAccepted",
    "Order",
    "Receipt",
    "StrictBatch",
    "accept",
    "receive",
]

CHUNK_SIZE = 4 * 1024 * 1024
"""Characters of records after which a chunk ends; while it is stored they are held several times over."""

Begin = Callable[[], AbstractContextManager[Session]]
"""Begins a transaction: committed at the end, rolled back on an exception."""


def accept(
    session: Session,
    records: Iterable[Read],
    order: Order,
    *,
    settings: Settings,
    registry: Registry,
    vault: Vault,
    set_aside: Callable[[Read, RecordError], object] = lambda _read, _error: None,
) -> Receipt:
    """Store a batch in the session's transaction. `set_aside` is told each record that cannot be accepted.

    Raises `SettingsError` (unknown source, or a budget and a model without a price), `NotEnoughModels` (the
    source's policy leaves too few), `StrictBatch`, `NothingAccepted`, `IdempotencyConflict`, `Abandoned`. A
    record that cannot be accepted is set aside with its reason, and the rest goes on.
    """
    batch = Batch(order, settings, registry, vault, set_aside)
    for chunk, last in _chunks(records):
        batch.take(session, chunk, last)
    return batch.receipt


def receive(
    begin: Begin,
    records: Iterable[Read],
    order: Order,
    *,
    settings: Settings,
    registry: Registry,
    vault: Vault,
    set_aside: Callable[[Read, RecordError], object] = lambda _read, _error: None,
    stored: Callable[[Receipt], object] = lambda _receipt: None,
) -> Receipt:
    """Store a batch in chunks, each in a transaction of its own; a strict one in one, after what all share.

    `stored` is told after each commit. Whatever breaks it off (`records` may raise), what is committed stays
    `receiving`: the same call with the same idempotency key goes on from there, in flat memory. Raises what
    `accept` raises.
    """
    if order.strict:
        with begin() as session:
            _share(session, registry)
        with begin() as session:
            return accept(
                session,
                records,
                order,
                settings=settings,
                registry=registry,
                vault=vault,
                set_aside=set_aside,
            )
    batch = Batch(order, settings, registry, vault, set_aside)
    for chunk, last in _chunks(records):
        with begin() as session:
            batch.take(session, chunk, last)
        stored(batch.receipt)
    return batch.receipt


def _share(session: Session, registry: Registry) -> None:
    """Make the rows that all sources share. What another transaction made of them has to be waited for, and a
    strict one lasts as long as its sender takes."""
    for prompt in (GENERATE, REVIEW):
        prompts.ensure_prompt(session, prompt)
    model_versions.versions_for_seats(session, registry.values())


def _chunks(records: Iterable[Read]) -> Iterator[tuple[list[Read], bool]]:
    """The records in chunks, the last of them marked; of no records one empty chunk.

    Where one ends depends on the records alone: a repeat has to find the same.
    """
    chunk, size = list[Read](), 0
    for read in records:
        if len(chunk) == CHUNK or size >= CHUNK_SIZE:
            yield chunk, False
            chunk, size = [], 0
        chunk.append(read)
        size += read.size
    yield chunk, True
