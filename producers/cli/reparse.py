"""`consilium reparse`: read stored raw answers again, after the reader was mended; nobody is asked."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from db.queries import reparse as queries
from db.queries import reports
from db.queries.documents import Vault
from db.queries.reparse import Unreadable
from producers.cli.acts import go_on
from producers.cli.common import Format, NotFound, database, emit, err, out, vault
from shared.errors import UnreadableAnswer
from shared.reading import read_answer
from shared.schemas import Recommendation, ReviewAnswer
from shared.settings import Settings, get_settings

CHUNK = 100
"""Consultations a transaction: their raw answers are held open at once."""


def reparse(
    submission: Annotated[uuid.UUID | None, typer.Option(help="Only of this submission.")] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Read stored answers again that could not be read. Restart the workers first: they do the reading.

    Without any call to a model: a failed consultation is put back only if what is stored is enough for it.
    """
    settings, vault_ = get_settings(), vault()
    settings.require_broker()
    counts = Counter[str]()
    with database() as session:
        if submission is not None and not reports.submissions(session, submission):
            raise NotFound(f"no submission {submission}: see `consilium status`")
        counts["due_now"] = queries.unread_due(session, submission)
        ids = queries.consultations(session, submission)
    for at in range(0, len(ids), CHUNK):
        counts.update(_again(ids[at : at + CHUNK], vault_, settings))
    if counts["due_now"] or counts["put_back"]:
        go_on()
    names = ("due_now", "looked_at", "readable", "put_back", "not_enough")
    if format_ is not Format.table:
        emit([{name: counts[name] for name in names}], format_)
        return
    out.print(
        f"{counts['due_now']} held as unread are read again now\n"
        f"{counts['looked_at']} excused as malformed looked at, {counts['readable']} readable now, "
        f"{counts['put_back']} put back",
        highlight=False,
    )
    if counts["not_enough"]:
        out.print(
            f"{counts['not_enough']} failed consultations stay: what is stored is not enough, and nobody is "
            "asked here; consilium failed requeue asks for the rest",
            highlight=False,
        )
    out.print("next: consilium status")


def _again(ids: Sequence[uuid.UUID], vault_: Vault, settings: Settings) -> Counter[str]:
    """Try some consultations' answers with the present reader, and put back what it can read."""
    with database() as session:
        found = queries.unreadable(session, ids)
        texts = vault_.open_all(session, [each.raw_id for each in found])
        readable = [each for each in found if each.raw_id in texts and _reads(each, texts[each.raw_id])]
        done = queries.put_back(
            session,
            readable,
            max_tries=settings.max_tries,
            urgent_s=settings.deadline_urgent_s,
            routine_s=settings.deadline_routine_s,
        )
    return Counter(
        looked_at=len(found), readable=len(readable), put_back=done.answers, not_enough=done.not_enough
    )


def _reads(answer: Unreadable, document: str) -> bool:
    try:
        read_answer(
            json.loads(document)["text"], Recommendation if answer.kind == "generation" else ReviewAnswer
        )
    except UnreadableAnswer:
        return False
    except Exception as error:  # noqa: BLE001 - a bug of the reader on one answer must not keep the others
        err.print(
            f"the reader fails on the answer owed as {answer.id}: {type(error).__name__}", style="yellow"
        )
        return False
    return True
