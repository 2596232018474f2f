"""A rival of the figures: the plainest Celery canvas with the books of the bare script.

Settings, threads and clients of plain_canvas.py; statements, sealing and parser of figures_booking.py. A
message carries the case and its key, which none of ours may. So it is about the least that a Celery pipeline
costs which keeps books. Left out: dispatch, limits, late acknowledgement, heartbeats, the consensus; what a
kill takes is lost.

    chord(generate × 3, reviews) ─► chord(review × 6, done)
"""

from __future__ import annotations

import base64
import os
import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psycopg
from celery import Celery, chord
from figures_booking import CLAIM, CONNECTIONS, LOOK, OWE, STORE_RAW, Case, Owed
from psycopg.rows import dict_row

from shared.registry import Registry, load_registry
from shared.schemas import Recommendation
from shared.sealing import DataKey

app = Celery("booked", broker=os.environ.get("PLAIN_BROKER"), backend=os.environ.get("PLAIN_BROKER"))
_mine = threading.local()
_idle: queue.LifoQueue[psycopg.Connection[Any] | None] = queue.LifoQueue()
for _ in range(CONNECTIONS):
    _idle.put(None)


@contextmanager
def _statements() -> Iterator[psycopg.Connection[Any]]:
    """A connection of the process; each statement is a transaction."""
    connection = _idle.get()
    try:
        if connection is None:
            connection = psycopg.connect(
                os.environ["PLAIN_DATABASE"],
                row_factory=dict_row,
                autocommit=True,
                options="-c plan_cache_mode=force_generic_plan",
            )
        yield connection
    finally:
        _idle.put(connection)


@cache
def _registry() -> Registry:
    return load_registry(Path(os.environ["CONSILIUM_MODELS_FILE"]))


def start(consultation: int, case: Case, owed: list[uuid.UUID]) -> None:
    """Send one consultation; `consultation` is its number for `done`."""
    sent = {
        "id": str(case.id),
        "seed": case.seed,
        "key_id": str(case.key.id),
        "key": base64.b64encode(case.key.secret).decode(),
        "text": case.text,
    }
    chord([generate.s(sent, str(id_)) for id_ in owed], reviews.s(consultation, sent)).apply_async()


def _case(sent: Mapping[str, Any], given: list[tuple[int, str, str]]) -> Case:
    key = DataKey(uuid.UUID(sent["key_id"]), base64.b64decode(sent["key"]))
    answers = {seat: (uuid.UUID(id_), Recommendation.model_validate_json(said)) for seat, id_, said in given}
    return Case(uuid.UUID(sent["id"]), sent["seed"], key, sent["text"], answers)


def _answer(case: Case, id_: uuid.UUID, item: int | None = None) -> Owed:
    """One owed answer: claim, call, book, parse, settle."""
    if not hasattr(_mine, "client"):
        _mine.client = httpx.Client(timeout=60)
    with _statements() as db:
        seen = db.execute(LOOK, {"id": id_}).fetchone()
        assert seen is not None
        owed = Owed(case, id_, item, seen, _registry())
        claim = db.execute(CLAIM, owed.lease).fetchone()
        assert claim is not None
    body = owed.body()
    began = time.monotonic()
    made = _mine.client.post(f"{owed.model.base_url}/chat/completions", json=body)
    made.raise_for_status()
    raw = owed.raw(claim["claim"], made.json(), time.monotonic() - began)
    with _statements() as db:
        db.execute(STORE_RAW, raw)
    statement, values, _ = owed.settle()
    with _statements() as db:
        row = db.execute(statement, values).fetchone()
        assert row is not None
        if not row["known"]:
            owed.ensure_version()
            row = db.execute(statement, values).fetchone()
        assert row is not None
        assert row["ours"]
    return owed


@app.task
def generate(sent: dict[str, Any], id_: str) -> tuple[int, str, str]:
    """One model's answer: its seat, its id, what it says."""
    case = _case(sent, [])
    seat = _answer(case, uuid.UUID(id_)).seen["seat"]
    answer_id, said = case.given[seat]
    return seat, str(answer_id), said.model_dump_json()


@app.task
def reviews(given: list[tuple[int, str, str]], consultation: int, sent: dict[str, Any]) -> None:
    """Everybody reviews everybody else."""
    values, owed = _case(sent, given).owe_reviews()
    with _statements() as db:
        db.execute(OWE, values)
    header = [review.s(sent, given, str(id_), item) for id_, item in owed]
    chord(header, done.s(consultation)).apply_async()


@app.task
def review(sent: dict[str, Any], given: list[tuple[int, str, str]], id_: str, item: int) -> None:
    """One model's opinion of another's answer."""
    _answer(_case(sent, given), uuid.UUID(id_), item)


@app.task
def done(_opinions: list[None], consultation: int) -> None:
    """The end."""
    with _statements() as db:
        db.execute("INSERT INTO plain_ends (consultation) VALUES (%s)", (consultation,))
