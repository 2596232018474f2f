"""Evaluations in the database: opened once, frozen once, and whether a snapshot had seen the test."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from db.engine import transaction
from db.queries import evaluations, snapshots
from embedded.services import Services
from shared.frozen import Frozen
from tests.stored import Stored


@pytest.fixture
def stored(database_url: str, services: Services) -> Stored:
    """A fresh database."""
    assert services.addresses.site_key
    return Stored(database_url, services.addresses.site_key)


def snapshot(stored: Stored, scope: str, *purposes: str) -> Frozen:
    """A chemistry snapshot of this scope, made now from these purposes, beside the memory number 0."""
    empty: dict[str, Any] = {"parameters": {}, "rows_read": 0, "digest": "0" * 64, "body": {}}
    with transaction(stored.url) as session:
        made = snapshots.add(
            session, kind="chemistry", scope=scope, form="default", purposes=list(purposes), **empty
        )
        return Frozen(snapshots.in_force(session).reviewers_snapshot_id, made)


def digests(stored: Stored, *consultations: uuid.UUID) -> list[bytes]:
    """The keyed digests of their vignettes."""
    rows = stored.ask("SELECT vignette_digest FROM consultations WHERE id = ANY(%s)", list(consultations))
    return [bytes(digest) for (digest,) in rows]


def overlap(stored: Stored, frozen: Frozen, training: list[uuid.UUID], test: list[bytes]) -> int:
    """As an evaluation asks."""
    with transaction(stored.url) as session:
        return evaluations.overlap(session, frozen, training, test)


def test_opened_and_frozen_once(stored: Stored) -> None:
    """The same digest is the same evaluation, and the first thing frozen stands."""
    first, later = snapshot(stored, "site", "care"), snapshot(stored, "site", "care")
    with transaction(stored.url) as session:
        made = evaluations.opened(session, "a" * 64, {"seed": 1})
        assert evaluations.opened(session, "a" * 64, {"seed": 2}) == made
        evaluations.freeze(session, made["id"], first)
        evaluations.freeze(session, made["id"], later)
        evaluations.finish(session, made["id"])
        row = evaluations.by_id(session, made["id"])
        assert row["chemistry_snapshot_id"] == first.chemistry_snapshot_id
        assert row["frozen_at"] is not None
        assert row["finished_at"] is not None
        assert evaluations.numbers(session, first) == {
            "reviewers": 0,
            "chemistry": 1,
            "calibration": None,
            "support": None,
        }


def test_an_arm_belongs_to_its_evaluation_once(stored: Stored) -> None:
    """Added again nothing changes; progress counts what has ended."""
    submission, (a, _) = stored.submit(2)
    [(source,)] = stored.ask("SELECT source_id FROM submissions WHERE id = %s", submission)
    with transaction(stored.url) as session:
        made = evaluations.opened(session, "b" * 64, {})
        for _again in range(2):
            evaluations.add_arm(
                session, made["id"], "RANDOM n=3", 1, source_id=source, submission_id=submission
            )
        assert evaluations.submissions(session, made["id"]) == {("RANDOM n=3", 1): submission}
    stored.ask("UPDATE consultations SET state = 'cancelled', ended_at = now() WHERE id = %s", a)
    with transaction(stored.url) as session:
        assert evaluations.progress(session, [submission]) == (2, 1)
        assert evaluations.simulated(session, [submission]) is True
        assert evaluations.simulated(session, []) is None


def test_a_site_snapshot_has_seen_what_its_purposes_say(stored: Stored) -> None:
    """Consultations of the purposes it read, accepted before it was made, whichever source sent them."""
    _, cases = stored.submit(3)  # care
    test = digests(stored, *cases[:2])
    assert overlap(stored, snapshot(stored, "site", "care", "demo"), [], test) == 2
    assert overlap(stored, snapshot(stored, "site", "evaluation"), [], test) == 0
    before = snapshot(stored, "site", "care")
    _, later = stored.submit(1)
    assert overlap(stored, before, [], digests(stored, *later)) == 0


def test_an_evaluations_own_snapshot_has_seen_its_training_alone(stored: Stored) -> None:
    """Care on the same vignettes does not matter to it; its training submissions do."""
    _, cases = stored.submit(2)
    training, trained = stored.submit(2, purpose="training")
    _, elsewhere = stored.submit(1, purpose="training")  # of another evaluation
    own = snapshot(stored, "evaluation:x", "training")
    assert overlap(stored, own, [training], digests(stored, *cases, *elsewhere)) == 0
    assert overlap(stored, own, [training], digests(stored, *cases, trained[0])) == 1
