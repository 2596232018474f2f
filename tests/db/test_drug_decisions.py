"""Labelled drug decisions as they are read from stored consultations."""

from __future__ import annotations

import json
import uuid

import pytest

from db.engine import transaction
from db.queries import outcomes
from db.queries.drug_decisions import decisions
from shared.refinement.problem import Problem
from shared.schemas import Gold, GoldItem
from shared.sealing import new_site_key
from shared.support import Evidence
from shared.support_fit import Decision, SeatVote
from tests.db.test_history import conclude
from tests.stored import Stored

GOLD = Gold(required=[GoldItem(any_of=["a", "b"])], acceptable=["c", "d"], never=["d"])


@pytest.fixture
def stored(database_url: str) -> Stored:
    """A fresh database."""
    return Stored(database_url, new_site_key())


def read(stored: Stored, *purposes: str, submissions: list[uuid.UUID] | None = None) -> list[Decision]:
    """The decisions of these purposes."""
    with transaction(stored.url) as session:
        return decisions(session, purposes, submissions)


def told(stored: Stored, consultation: uuid.UUID, kind: str, gold: Gold) -> None:
    """An outcome becomes known."""
    with transaction(stored.url) as session:
        [(_, source)] = outcomes.of_id(session, consultation)
        outcomes.add(session, consultation, source, kind, gold)


def concluded(stored: Stored, consultation: uuid.UUID, *starts: str, problem: Problem | None = None) -> None:
    """Its seats started these drugs (letters), graded 0.5, 0.6, …; the last seat's answer has no grade."""
    for owed in stored.owed(consultation):
        stored.answer(owed)
    conclude(stored, consultation, (None,) * len(starts))
    for seat, drugs in enumerate(starts):
        stored.ask(
            "UPDATE generations SET starts = %s WHERE consultation_id = %s AND seat = %s",
            *(list(drugs), consultation, seat),
        )
    answers = {str(seat): {"grade": 0.5 + seat / 10} for seat in range(len(starts) - 1)}
    refinement = None if problem is None else json.dumps({"problem": problem.to_json()})
    stored.ask(
        "UPDATE consensus SET detail = %s, refinement = %s WHERE consultation_id = %s",
        *(json.dumps({"answers": answers}), refinement, consultation),
    )


def test_what_is_read(stored: Stored) -> None:
    """Each named drug with who named it, grades, label and evidence; nothing without an outcome."""
    _, (one, two) = stored.submit(2)
    concluded(stored, one, "ax", "ac", "d", problem=Problem(tuple("acdx"), treats={"a": ("gout",)}))
    concluded(stored, two, "a", "", "")
    assert read(stored, "care") == []
    told(stored, one, "gold", GOLD)
    found = read(stored, "care")
    models = [
        str(model)
        for (model,) in stored.ask(
            "SELECT model_version_id FROM generations WHERE consultation_id = %s ORDER BY seat", one
        )
    ]
    [(digest,)] = stored.ask("SELECT encode(vignette_digest, 'hex') FROM consultations WHERE id = %s", one)
    assert {(d.vignette, d.kind) for d in found} == {(digest, "medication/general")}
    # `never` outweighs `acceptable`; what gold does not name does not belong
    assert [(d.drug, d.belongs) for d in found] == [("a", True), ("c", True), ("d", False), ("x", False)]
    assert found[0].seats == (
        SeatVote(models[0], True, 0.5),
        SeatVote(models[1], True, 0.6),
        SeatVote(models[2], False, None),
    )
    assert [[s.named for s in d.seats] for d in found[1:]] == [
        [False, True, False],
        [False, False, True],
        [True, False, False],
    ]
    assert (found[0].evidence, found[1].evidence) == (
        Evidence(True, 0.0, 0.0, 0),
        Evidence(False, 0.0, 0.0, 0),
    )


def test_the_newest_outcome_labels(stored: Stored) -> None:
    """Of any kind; a consultation concluded before lists were refined has no evidence."""
    _, (one,) = stored.submit(1)
    concluded(stored, one, "a", "x")
    told(stored, one, "gold", GOLD)
    told(stored, one, "clinician", Gold(required=[GoldItem(any_of=["x"])]))
    assert [(d.drug, d.belongs, d.evidence) for d in read(stored, "care")] == [
        ("a", False, None),
        ("x", True, None),
    ]


def test_only_what_is_asked_for(stored: Stored) -> None:
    """Purposes and submissions, and only who answered in the end."""
    (_, (one,)), (second, (two,)) = stored.submit(1), stored.submit(1, purpose="training")
    for consultation in (one, two):
        concluded(stored, consultation, "a", "a", "a")
        told(stored, consultation, "gold", GOLD)
    assert len(read(stored, "care")) == len(read(stored, "training")) == 1
    assert len(read(stored, "care", "training")) == 2
    assert read(stored, "care", "training", submissions=[second]) == read(stored, "training")
    assert read(stored, "care", submissions=[second]) == []
    stored.ask("DELETE FROM interactions WHERE consultation_id = %s AND seat = 1", one)
    assert len(read(stored, "care")[0].seats) == 2
