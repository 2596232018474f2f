"""What accepting fixes for each consultation: its ensemble, as the policy allows, priority and deadline."""

from __future__ import annotations

import math
from typing import Any

import pytest

from db.engine import transaction
from db.queries import consultations
from shared.errors import NotEnoughModels, SettingsError
from shared.flow import Ask, next_step
from tests.producers.conftest import Site, record


def test_a_local_only_source_draws_local_models(site: Site) -> None:
    """No remote model is drawn, whatever the strategy; too few local ones is an error."""
    site.source("ward", {"allow": ["local"]})
    local = {m.name for m in site.registry.values() if m.location == "local"}
    assert len(local) == 5
    for strategy in ("RANDOM", "LOCAL"):
        site.accept([record(f"{strategy} {k}") for k in range(50)], source="ward", strategy=strategy, n=4)
    drawn = {
        name
        for (name,) in site.ask(
            "SELECT DISTINCT v.name FROM seats s JOIN model_versions v ON v.id = s.model_version_id"
        )
    }
    assert drawn == local
    before = site.counts()
    fixed = ("sim-alder-large", *sorted(local)[:2])
    assert fixed[0] not in local
    for order in (
        {"strategy": "RANDOM", "n": 6},
        {"strategy": "REMOTE", "n": 2},
        {"strategy": "FIXED", "models": fixed},
    ):
        with pytest.raises(NotEnoughModels):
            site.accept([record("late")], source="ward", **order)
    assert site.counts() == before


def test_the_draw_is_stored(site: Site) -> None:
    """Seed, probability and who was allowed stand with each consultation, and the seed gives it again."""
    site.accept([record(f"a{k}") for k in range(40)], n=3, seed=7)
    site.accept([record(f"b{k}") for k in range(40)], n=3, seed=7)
    site.accept([record(f"c{k}") for k in range(40)], n=3, seed=8)
    rows = site.ask("""
        SELECT c.seed, c.draw_probability, c.allowed, c.explored,
               array_agg(v.name ORDER BY s.seat) AS names, sub.seed
        FROM consultations c
        JOIN records r ON r.id = c.record_id
        JOIN submissions sub ON sub.id = c.submission_id
        JOIN seats s ON s.consultation_id = c.id
        JOIN model_versions v ON v.id = s.model_version_id
        GROUP BY c.id, c.source_id, r.ordinal, sub.received_at, sub.seed
        ORDER BY sub.received_at, r.ordinal
    """)
    assert len(rows) == 120
    for _, probability, allowed, explored, names, _ in rows:
        assert probability == pytest.approx(1 / math.comb(12, 3))
        assert allowed == sorted(site.registry)
        assert not explored
        assert len(set(names)) == 3
    one, same, other = rows[:40], rows[40:80], rows[80:]
    assert [(row[0], row[4]) for row in one] == [(row[0], row[4]) for row in same]
    assert not {row[0] for row in one} & {row[0] for row in other}
    assert len({row[0] for row in one}) == 40
    assert len({tuple(row[4]) for row in one}) > 20
    assert [row[5] for row in rows[::40]] == [7, 7, 8]


def test_a_fixed_ensemble_is_as_large_as_its_list(site: Site) -> None:
    """The quorum follows from n, so n is the number of seats, and the seats are in the list's order."""
    names = tuple(sorted(site.registry))[:5][::-1]
    site.accept([record("a")], strategy="FIXED", models=names, n=3)
    assert site.ask("SELECT n, draw_probability FROM consultations") == [(5, 1.0)]
    assert site.ask("SELECT n, models FROM submissions") == [(5, list(names))]
    seated = site.ask(
        "SELECT v.name FROM seats s JOIN model_versions v ON v.id = s.model_version_id ORDER BY seat"
    )
    assert tuple(name for (name,) in seated) == names


def test_what_is_owed_starts_the_flow(site: Site) -> None:
    """Each seat owes one generation with the prompt in force, ready to be asked."""
    site.accept([record("a")], n=4)
    ((consultation_id,),) = site.ask("SELECT id FROM consultations")
    with transaction(site.url) as session:
        owed = consultations.owed(session, consultation_id, within_s=0)
    step = next_step(4, owed)
    assert isinstance(step, Ask)
    assert [(o.seat, o.kind, o.state) for o in step.owed] == [(k, "generation", "owed") for k in range(4)]
    prompts = site.ask(
        "SELECT DISTINCT o.prompt_id = c.generate_prompt_id FROM owed_answers o, consultations c"
    )
    assert prompts == [(True,)]


def test_priority_and_deadline(site: Site) -> None:
    """Care has a deadline by its priority; the other purposes run as background without one."""
    orders: list[tuple[dict[str, Any], int, int | None]] = [
        ({"priority": "urgent"}, 0, 900),
        ({"priority": "routine"}, 1, 86_400),
        ({"priority": "background"}, 2, 86_400),
        ({"purpose": "evaluation", "priority": "urgent"}, 2, None),
        ({"purpose": "training"}, 2, None),
        ({"purpose": "demo"}, 2, None),
    ]
    for order, priority, seconds in orders:
        submission = site.accept([record(str(order))], **order).submission_id
        found = site.ask(
            "SELECT priority, extract(epoch FROM deadline_at - accepted_at)::int FROM consultations "
            "WHERE submission_id = %s",
            submission,
        )
        assert found == [(priority, seconds)], order


def test_an_unknown_source_or_order_is_an_error(site: Site) -> None:
    """The message says what to do, and nothing is stored."""
    before = site.counts()
    for order, said in (
        ({"source": "nobody"}, "consilium sources add"),
        ({"strategy": "BEST"}, "one of LOCAL, REMOTE, RANDOM, PERFORMANCE, CHEMISTRY, FIXED"),
        ({"n": 13}, "2 to 12"),
    ):
        with pytest.raises(SettingsError, match=said):
            site.accept([record("a")], **order)
    assert site.counts() == before
