"""Taking a submission back: what has not begun is cancelled; one that is not all there is erased."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sqlalchemy.orm import Session

from db.queries import audit, cancelling, events, receiving
from db.queries.cancelling import Counts
from producers.intake import Begin


def cancel(begin: Begin, submission_id: uuid.UUID, *, who: str, source_id: uuid.UUID) -> Counts | None:
    """Cancel what waits for its first dispatch, in batches; what became of all. None: there is no such one.

    What is in flight goes on. Asked again, it tells the same. The audit's line is written with the first
    change, so that whatever breaks it off leaves none unsaid.
    """

    def note(session: Session) -> None:
        audit.record(session, who, "cancel", str(submission_id), source_id)

    with begin() as session:
        state = cancelling.state(session, submission_id)
    if state is None:
        return None
    if state in ("receiving", "rejected"):
        give_up(begin, submission_id, note)
    first, more = True, True
    while more:
        with begin() as session:
            more = cancelling.cancel(session, submission_id) > 0
            if more and first:
                note(session)
        first = False
    with begin() as session:
        events.finish_submissions(session, submission_id)
        return cancelling.counts(session, submission_id)


def give_up(
    begin: Begin, submission_id: uuid.UUID, note: Callable[[Session], object] = lambda _session: None
) -> None:
    """Where it is still received: receive no more of it, and erase what is stored, chunk by chunk.

    `note` is called in the transaction that gives it up.
    """
    with begin() as session:
        if receiving.give_up(session, submission_id):
            note(session)
    more = True
    while more:
        with begin() as session:
            more = receiving.clear(session, submission_id)
