"""The sums over a small history, worked out by hand: own consultations and imported trials."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from db.engine import transaction
from db.queries import imports
from db.queries.history import aggregates, family_of, version_weights
from shared.chemistry.aggregates import FOLDS, Aggregates
from shared.errors import SettingsError
from shared.history import HistoryRow
from shared.sealing import new_site_key
from tests.accepted import TRIO
from tests.stored import Stored

KIND = "medication/general"


@pytest.fixture
def stored(database_url: str) -> Stored:
    """A fresh database."""
    return Stored(database_url, new_site_key())


def sums(stored: Stored, *purposes: str, **more: Any) -> Aggregates:
    """The aggregates of these purposes."""
    with transaction(stored.url) as session:
        return aggregates(session, purposes, **more)


def conclude(
    stored: Stored, consultation: uuid.UUID, right: Sequence[bool | None], quality: float = 8
) -> None:
    """Its seats have answered so, its consensus was right as the first seat was."""
    for seat, was_right in enumerate(right):
        stored.ask(
            "INSERT INTO interactions (consultation_id, source_id, seat, occupancy, model_version_id, kind, "
            "purpose, latency_s, quality, generation_accuracy, review_accuracy) SELECT c.id, c.source_id, "
            "s.seat, 1, s.model_version_id, c.kind, c.purpose, 2, %s, %s, 0.5 FROM consultations c "
            "JOIN seats s ON s.consultation_id = c.id AND s.seat = %s WHERE c.id = %s",
            *(quality, None if was_right is None else float(was_right), seat, consultation),
        )
    stored.ask(
        "INSERT INTO consensus (consultation_id, source_id, form, snapshot_id, grade, support, detail, "
        "was_right) SELECT c.id, c.source_id, 'mean', c.reviewers_snapshot_id, %s, '{}', '{}', %s "
        "FROM consultations c WHERE c.id = %s",
        *(quality / 10, right[0], consultation),
    )


def rows(trial: str, *answers: tuple[str, float, float | None]) -> list[HistoryRow]:
    """The rows of an imported trial: (model, quality, generation accuracy) each."""
    return [
        HistoryRow(
            trial=trial,
            model=model,
            task=KIND,
            latency_s=10.0,
            temperature=None,
            item="Item",
            result="",
            quality=quality,
            generation_accuracy=accuracy,
            variance=None,
            review_accuracy=None,
            accuracy=0.5,
            elapsed=None,
            strategy="CHEMISTRY",
            created=None,
        )
        for model, quality, accuracy in answers
    ]


def imported(stored: Stored, origin: str, *trials: list[HistoryRow]) -> None:
    """Import these trials."""
    with transaction(stored.url) as session:
        imports.add(session, origin, str(uuid.uuid4()), [row for trial in trials for row in trial], kind=None)


def test_own_history(stored: Stored) -> None:
    """Answers, outcomes, seats, failures, pairs and ensembles of three consultations, one without outcome."""
    _, (one, two, three) = stored.submit(3)
    conclude(stored, one, (True, True, False))
    conclude(stored, two, (False, True, False), quality=6)
    conclude(stored, three, (None, None, None), quality=4)
    for consultation in (one, two):
        for owed in stored.owed(consultation):
            stored.answer(owed)
    stored.excuse(stored.owed(three)[0])
    found = sums(stored, "care")
    assert (found.rows, sums(stored, "demo").rows) == (9, 0)
    a, b, c = found.models
    assert (a.model, a.family, a.kind) == (TRIO[0], stored.registry[TRIO[0]].family, KIND)
    assert (a.runs, a.quality_runs, a.quality, a.quality_squares) == (3, 3, 18, 64 + 36 + 16)
    assert [(m.outcomes, m.right) for m in (a, b, c)] == [(2, 1), (2, 2), (2, 0)]
    # 0.75 · 1 + 0.125, then 0 + 0.125, then without an outcome 0.25 · 0.4 + 0.375
    assert a.accuracy == pytest.approx(0.875 + 0.125 + 0.475)
    assert (a.latency_runs, a.latency_s) == (3, 6)
    assert [(m.seats, m.failures) for m in (a, b, c)] == [(3, 1), (2, 0), (2, 0)]
    ends = {(p.a, p.b): (0.0, 0.0, 0.0, 0.0) for p in found.pairs}
    for p in found.pairs:
        before = ends[p.a, p.b]
        now = (p.together, p.wrong_a, p.wrong_b, p.wrong_both)
        ends[p.a, p.b] = tuple(x + y for x, y in zip(before, now, strict=True))  # type: ignore[assignment]
    assert ends == {
        (TRIO[0], TRIO[1]): (2, 1, 0, 0),
        (TRIO[0], TRIO[2]): (2, 1, 2, 1),
        (TRIO[1], TRIO[2]): (2, 0, 2, 0),
    }
    assert {e.members for e in found.ensembles} == {TRIO}
    assert sum(e.consultations for e in found.ensembles) == 3
    assert sum(e.quality for e in found.ensembles) == 18
    assert (sum(e.outcomes for e in found.ensembles), sum(e.right for e in found.ensembles)) == (2, 1)
    assert all(0 <= e.fold < FOLDS for e in found.ensembles)
    assert sums(stored, "care") == found
    conclude(stored, stored.submit()[1][0], (None, None, None))
    assert sums(stored, "care").digest != found.digest


def test_some_submissions_alone(stored: Stored) -> None:
    """Nothing of any other submission is in the sums."""
    first, (one,) = stored.submit()
    conclude(stored, one, (True, True, False))
    alone = sums(stored, "care")
    _, (two,) = stored.submit()
    conclude(stored, two, (False, True, False))
    assert sums(stored, "care", submissions=[first]) == alone != sums(stored, "care")


def test_an_earlier_version_counts_a_quarter(stored: Stored) -> None:
    """And what was learned with it as a member of pairs and ensembles too."""
    _, (one, two) = stored.submit(2)
    conclude(stored, one, (False, True, False))
    stored.ask(
        "INSERT INTO model_versions (id, provider, name, returned, parameters_digest, family, location, "
        "simulated, first_seen_at) SELECT gen_random_uuid(), provider, name, 'newer', 'other', family, "
        "location, simulated, now() + interval '1 h' FROM model_versions WHERE name = %s",
        TRIO[0],
    )
    conclude(stored, two, (None, None, None))
    found = sums(stored, "care")
    assert [m.runs for m in found.models] == [0.5, 2, 2]
    assert found.models[0].quality == 4
    assert {(p.a, p.together) for p in found.pairs} == {(TRIO[0], 0.25), (TRIO[1], 1)}
    assert sum(e.consultations for e in found.ensembles) == 0.5


@dataclass(frozen=True)
class Version:
    """What the weights go by."""

    id: uuid.UUID
    returned: str | None
    parameters_digest: str
    provider: str = "p"
    name: str = "m"


def test_weights_of_versions() -> None:
    """A version that no answer had named yet is one with its successor of the same parameters."""
    line = [(None, "x"), ("r1", "x"), ("r2", "x"), (None, "y")]
    versions = [Version(uuid.uuid4(), returned, digest) for returned, digest in line]
    weights = version_weights(versions)
    assert [weights[v.id] for v in versions] == [0.0625, 0.0625, 0.25, 1.0]


def test_imported_history(stored: Stored) -> None:
    """A model that sits twice counts once; the highest quality is the consensus; origins are apart."""
    first = rows("t1", ("llama3:8b", 4, 1.0), ("llama3:8b", 6, 1.0), ("gpt-4o", 9, 0.0))
    second = rows("t2", ("gpt-4o", 3, 1.0), ("o1-mini", 7, None))
    imported(stored, "here", first, second)
    imported(stored, "there", rows("t1", ("o1-mini", 5, 1.0)))
    found = sums(stored, "imported:here")
    assert found.rows == 5
    gpt, llama, o1 = found.models
    assert [(m.model, m.family, m.runs) for m in found.models] == [
        ("gpt-4o", "gpt", 2),
        ("llama3:8b", "llama", 1),
        ("o1-mini", "o", 1),
    ]
    assert (llama.quality, llama.quality_squares, llama.outcomes, llama.right) == (5, 25, 1, 1)
    assert (gpt.outcomes, gpt.right, o1.outcomes) == (2, 1, 0)
    [pair] = found.pairs
    assert (pair.a, pair.b, pair.together, pair.wrong_a, pair.wrong_b) == ("gpt-4o", "llama3:8b", 1, 1, 0)
    ends = {e.members: (e.consultations, e.quality, e.outcomes, e.right) for e in found.ensembles}
    assert ends == {("gpt-4o", "llama3:8b"): (1, 9, 1, 0), ("gpt-4o", "o1-mini"): (1, 7, 0, 0)}
    assert sums(stored, "care", "imported").rows == 6
    assert sums(stored, "care").models == []
    for wrong in ("all", "imported:", "care:x"):
        with pytest.raises(SettingsError, match="no purpose"):
            sums(stored, wrong)


def test_folds_go_by_the_question(stored: Stored) -> None:
    """Trials of one question are in one fold, whatever they are called; without one they are spread."""
    asked = [
        [
            HistoryRow(**{**{f: getattr(r, f) for f in HistoryRow.__slots__}, "result": "def gcd(a, b):"})
            for r in rows(f"t{k}", ("a", 1, 1.0))
        ]
        for k in range(30)
    ]
    imported(stored, "asked", *asked)
    imported(stored, "other", *[rows(f"t{k}", ("a", 1, 1.0)) for k in range(30)])
    assert len({e.fold for e in sums(stored, "imported:asked").ensembles}) == 1
    assert len({e.fold for e in sums(stored, "imported:other").ensembles}) > 3


def test_family_of_a_name() -> None:
    """The name up to the first digit or - : . _"""
    names = ("llama3.1:70b", "gpt-4o", "claude-3-5-sonnet-latest", "o1-mini", "mixtral:8x22b", "4x")
    assert [family_of(name) for name in names] == ["llama", "gpt", "claude", "o", "mixtral", "4x"]
