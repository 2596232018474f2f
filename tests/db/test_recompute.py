"""Learning from stored history: only what is new, never twice at once, and the next choice is another one."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import pytest
from sqlalchemy import text

from db import recompute
from db.engine import transaction
from db.queries import snapshots
from shared import memory
from shared.errors import SettingsError
from shared.frozen import Frozen
from shared.memory import RawReview, estimate
from shared.sealing import new_site_key
from tests.db.test_history import conclude
from tests.stored import Stored

GOOD = ("sim-alder-small", "sim-birch-small", "sim-rowan-small")
BAD = ("sim-alder-large", "sim-birch-large", "sim-cedar-large")


@pytest.fixture
def stored(database_url: str) -> Stored:
    """A fresh database."""
    return Stored(database_url, new_site_key())


def run(stored: Stored, kind: str = "chemistry", **changes: object) -> str:
    """One recomputation, by default of chemistry."""
    settings = stored.settings.model_copy(update=changes)
    with transaction(stored.url) as session:
        return recompute.recompute(session, kind, settings)


def history(stored: Stored, models: tuple[str, ...], n: int, *, right: bool, **order: object) -> None:
    """So many consultations of these models, all seats right or wrong."""
    for consultation in stored.submit(n, models=models, **order)[1]:
        conclude(stored, consultation, [right] * len(models))


# Items k = first … last: two of the council of the first consultation grade each, a hundred items at a time.
REVIEWS = text("""
    INSERT INTO reviews
        (id, source_id, consultation_id, owed_answer_id, generation_id, seat, occupancy, model_version_id,
         raw_document_id, document_id, grade, label, position, scrubbed, created_at)
    SELECT e.id, c.source_id, c.id, e.id, md5('item ' || k)::uuid, s.seat, 1, s.model_version_id, c.id, c.id,
           abs(hashint8extended(k, s.seat) % 101) / 100.0, 'A', 0, 0,
           timestamptz '2026-01-01' + make_interval(secs => k + abs(hashint8extended(k, 9 + s.seat) % 100))
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) k,
         (SELECT id, source_id FROM consultations ORDER BY id LIMIT 1) c
    JOIN seats s ON s.consultation_id = c.id,
    LATERAL (SELECT md5('review ' || k || ' ' || s.seat)::uuid AS id) e
    WHERE s.seat <> k % 3
""")


def grades(stored: Stored, first: int, last: int) -> None:
    """The reviews of these items, whose answers nothing here reads: no foreign key is checked."""
    with transaction(stored.url) as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(REVIEWS, {"first": first, "last": last})


def drawn(stored: Stored, strategy: str) -> set[tuple[str, str, tuple[str, ...]]]:
    """As what ten consultations were drawn: (strategy as stored, as its choice says, who sits)."""
    submission, _ = stored.submit(10, strategy=strategy, models=())
    rows = stored.ask(
        "SELECT c.strategy, h.strategy, array_agg(v.name ORDER BY v.name) FROM consultations c "
        "JOIN choices h ON h.submission_id = c.submission_id AND h.kind = c.kind "
        "JOIN seats s ON s.consultation_id = c.id JOIN model_versions v ON v.id = s.model_version_id "
        "WHERE c.submission_id = %s AND NOT c.explored GROUP BY c.id, c.strategy, h.strategy",
        submission,
    )
    return {(one, other, tuple(models)) for one, other, models in rows}


@pytest.mark.parametrize("strategy", ["PERFORMANCE", "CHEMISTRY"])
def test_what_was_learned_changes_the_next_choice(stored: Stored, strategy: str) -> None:
    """Without history it draws at random and says so; then it takes who was right."""
    before = drawn(stored, strategy)
    assert {(one, other) for one, other, _ in before} == {("RANDOM", "RANDOM")}
    assert len(before) > 3
    history(stored, GOOD, 20, right=True)
    history(stored, BAD, 20, right=False)
    assert run(stored) == "stored"
    assert drawn(stored, strategy) == {(strategy, strategy, GOOD)}


def test_only_what_is_new_is_stored(stored: Stored) -> None:
    """Nothing from nothing, nothing twice, and nothing of a purpose that is not learned from."""
    assert run(stored) == "empty"
    history(stored, GOOD, 3, right=True)
    assert [run(stored), run(stored)] == ["stored", "unchanged"]
    history(stored, BAD, 2, right=False, purpose="evaluation")
    assert run(stored) == "unchanged"
    assert run(stored, history_purposes="care,evaluation") == "stored"
    numbers = stored.ask("SELECT number, rows_read, purposes FROM snapshots WHERE kind = 'chemistry'")
    assert sorted(numbers) == [(1, 9, ["care"]), (2, 15, ["care", "evaluation"])]


def test_never_twice_at_once(stored: Stored) -> None:
    """While one is at work another is told so, and stores nothing."""
    history(stored, GOOD, 1, right=True)
    with transaction(stored.url) as session:
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('consilium recompute chemistry'))"))
        assert run(stored) == "busy"
    assert run(stored) == "stored"


def test_a_failed_run_leaves_the_last_in_force(stored: Stored) -> None:
    """And what is accepted meanwhile fixes that one."""
    history(stored, GOOD, 1, right=True)
    assert run(stored) == "stored"
    with pytest.raises(SettingsError, match="no purpose 'nursing'"):
        run(stored, history_purposes="nursing")
    with transaction(stored.url) as session:
        latest = snapshots.latest(session, "chemistry")
        assert latest is not None
        assert snapshots.in_force(session).chemistry_snapshot_id == latest.id
    assert latest.number == 1


def test_an_evaluation_learns_from_its_own_training_alone(stored: Stored) -> None:
    """Its snapshots are in force for nobody else, and other history is not in them."""
    history(stored, BAD, 5, right=True)
    training, (one, two) = stored.submit(2, models=GOOD, purpose="training")
    for consultation in (one, two):
        conclude(stored, consultation, [True] * 3)
    with transaction(stored.url) as session:
        before = snapshots.in_force(session)
        frozen = recompute.freeze(session, stored.settings, scope="evaluation:a", submissions=[training])
        assert frozen.chemistry_snapshot_id is not None
        assert snapshots.by_id(session, frozen.chemistry_snapshot_id).rows_read == 6
        assert snapshots.in_force(session) == before == Frozen(frozen.reviewers_snapshot_id)


def test_the_reviewers_memory_is_that_of_all_grades_at_once(stored: Stored) -> None:
    """Read by a cursor and added up on the way: the same bits and the same digest as of the whole list."""
    assert run(stored, "reviewers") == "empty"
    stored.submit(1)
    grades(stored, 1, 200)
    assert [run(stored, "reviewers"), run(stored, "reviewers")] == ["stored", "unchanged"]
    rows = stored.ask(
        "SELECT r.generation_id::text, r.model_version_id::text, v.family, c.kind, r.grade, r.created_at "
        "FROM reviews r JOIN model_versions v ON v.id = r.model_version_id "
        "JOIN consultations c ON c.id = r.consultation_id ORDER BY r.created_at, r.id"
    )
    raw = [RawReview(i, u, family, kind, g, at.timestamp()) for i, u, family, kind, g, at in rows]
    lines = "".join(f"{r.item} {r.reviewer} {r.family} {r.kind} {r.grade!r}\n" for r in raw) + "[]\n"
    whole = [hashlib.sha256(lines.encode()).hexdigest(), "memory", json.dumps([{}, ["care"]])]
    with transaction(stored.url) as session:
        latest = snapshots.latest(session, "reviewers")
    assert latest is not None
    assert latest.body == estimate(raw).to_json()
    assert latest.digest == hashlib.sha256("".join(f"{line}\n" for line in whole).encode()).hexdigest()
    assert (latest.rows_read, latest.span_from, latest.span_to) == (400, rows[0][-1], rows[-1][-1])
    grades(stored, 201, 201)
    assert run(stored, "reviewers") == "stored"


def test_memory_does_not_grow_with_the_grades(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times the grades of the same reviewers take no more of it."""
    monkeypatch.setattr(memory, "BATCH", 200)
    stored.submit(1)
    peaks = []
    for first, last in ((1, 2000), (2001, 10_000)):
        grades(stored, first, last)
        tracemalloc.start()
        assert run(stored, "reviewers") == "stored"
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    with transaction(stored.url) as session:  # the wire's rows are not traced: they come by a cursor
        found = snapshots.raw_grades(session, ["care"])
        next(found)
        assert session.execute(text("SELECT count(*) FROM pg_cursors")).scalar_one() == 1
        assert len(list(found)) == 20_000 - 1  # and to the end, which closes it
