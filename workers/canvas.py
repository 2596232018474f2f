"""The canvas: what is sent for a consultation, built from its stored state by one function.

    chord( generate × N , advance )
    chord( review × N·(N−1) , chain( conclude , announce ) )

Flat chords only; a message carries (version, ids). First dispatch, `advance` and recovery all come here.
"""

from __future__ import annotations

import uuid

from celery import Celery, Signature, chain, chord

from db.queries.owed_answers import CRASHES_BEFORE_QUARANTINE
from shared.broker import MESSAGE_VERSION, model_queue
from shared.flow import Ask, Conclude, Owed


def canvas(app: Celery, consultation_id: uuid.UUID, step: Ask | Conclude, *, urgent: bool) -> Signature:
    """The canvas for a step: what is still owed, then what follows."""

    tail = chain(
        _task(app, "conclude", consultation_id, "conclude"),
        _task(app, "announce", consultation_id, "conclude"),
    )
    match step:
        case Ask("generation", owed):
            body = _task(app, "advance", consultation_id, "conclude")
            return chord([_ask(app, "generate", o, urgent) for o in owed], body)
        case Ask(_, owed):
            return chord([_ask(app, "review", o, urgent) for o in owed], tail)
        case Conclude():
            return tail


def generate_alone(app: Celery, owed: Owed, *, urgent: bool) -> Signature:
    """One seat's answer outside the chord: a substitute's, while the chord is under way."""
    return _ask(app, "generate", owed, urgent)


def _task(app: Celery, name: str, id_: uuid.UUID, queue: str) -> Signature:
    return app.signature(f"consilium.{name}", args=(MESSAGE_VERSION, str(id_)), immutable=True, queue=queue)


def _ask(app: Celery, name: str, owed: Owed, urgent: bool) -> Signature:
    poisonous = owed.crashes >= CRASHES_BEFORE_QUARANTINE
    queue = "quarantine" if poisonous else model_queue(owed.location, urgent=urgent)
    return _task(app, name, owed.id, queue)
