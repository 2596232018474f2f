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

    def task(name: str, id_: uuid.UUID, queue: str) -> Signature:
        return app.signature(
            f"consilium.{name}", args=(MESSAGE_VERSION, str(id_)), immutable=True, queue=queue
        )

    def ask(name: str, owed: Owed) -> Signature:
        poisonous = owed.crashes >= CRASHES_BEFORE_QUARANTINE
        return task(name, owed.id, "quarantine" if poisonous else model_queue(owed.location, urgent=urgent))

    tail = chain(
        task("conclude", consultation_id, "conclude"),
        task("announce", consultation_id, "conclude"),
    )
    match step:
        case Ask("generation", owed):
            body = task("advance", consultation_id, "conclude")
            return chord([ask("generate", o) for o in owed], body)
        case Ask(_, owed):
            return chord([ask("review", o) for o in owed], tail)
        case Conclude():
            return tail
