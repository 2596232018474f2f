"""Taking a submission back: what has not begun is cancelled; one that is not all there is erased."""

from __future__ import annotations

import uuid

from db.queries import audit, cancelling, events, receiving
from db.queries.cancelling import Counts
from producers.intake import Begin


def cancel(begin: Begin, submission_id: uuid.UUID, *, who: str, source_id: uuid.UUID) -> Counts | None:
    """Cancel what waits for its first dispatch, in batches; what became of all. None: there is no such one.

    What is in flight goes on. Asked again, it tells the same.
    """
    with begin() as session:
        state = cancelling.state(session, submission_id)
    if state is None:
        return None
    if state in ("receiving", "rejected"):
        give_up(begin, submission_id)
    changed, more = 0, True
    while more:
        with begin() as session:
            more = (done := cancelling.cancel(session, submission_id)) > 0
        changed += done
    with begin() as session:
        if changed or state == "receiving":
            audit.record(session, who, "cancel", str(submission_id), source_id)
        events.finish_submissions(session, submission_id)
        return cancelling.counts(session, submission_id)


def give_up(begin: Begin, submission_id: uuid.UUID) -> None:
    """Where it is still received: receive no more of it, and erase what is stored, chunk by chunk."""
    with begin() as session:
        receiving.give_up(session, submission_id)
    more = True
    while more:
        with begin() as session:
            more = receiving.clear(session, submission_id)
