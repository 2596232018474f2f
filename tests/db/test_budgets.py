"""Caps on spending: what counts, what is held, and what lets it go on."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest

from db.engine import transaction
from db.queries import budgets
from embedded.services import Services
from tests.stored import Stored


@pytest.fixture
def stored(database_url: str, services: Services) -> Stored:
    """A fresh database with a second source."""
    assert services.addresses.site_key
    made = Stored(database_url, services.addresses.site_key)
    made.source("ward")
    return made


def expect(stored: Stored, usd: str | None, *ids: uuid.UUID) -> None:
    """They are expected to cost so much each."""
    stored.ask("UPDATE consultations SET expected_usd = %s WHERE id = ANY(%s)", usd, list(ids))


def source_of(stored: Stored, name: str) -> uuid.UUID:
    """The source's id."""
    [(id_,)] = stored.ask("SELECT id FROM sources WHERE name = %s", name)
    return uuid.UUID(str(id_))


def hold(stored: Stored, submission: uuid.UUID) -> int:
    """All that waits of a submission is held."""
    with transaction(stored.url) as session:
        return budgets.hold_for_budget(session, submission_id=submission)


def release(stored: Stored) -> int:
    """What the sweep does."""
    with transaction(stored.url) as session:
        return budgets.release_source_holds(session)


def test_spent_and_promised(stored: Stored) -> None:
    """All that was spent, and of those in flight what is expected yet; what waits is not promised."""
    submission, (ended, cheap, dear, waiting) = stored.submit(4)
    expect(stored, "1", ended, cheap, dear, waiting)
    stored.dispatch(ended, cheap, dear)
    for id_, usd in ((ended, "0.25"), (cheap, "0.5"), (dear, "1.5")):
        stored.call(stored.owed(id_)[0], 1, usd)
    stored.fail(ended)
    with transaction(stored.url) as session:
        assert budgets.spent_and_promised(session, submission_id=submission) == Decimal("2.75")


def test_a_source_s_day(stored: Stored) -> None:
    """Today's calls by their start, of all its submissions, and what is in flight."""
    _, (a, b) = stored.submit(2, source="ward")
    _, (other,) = stored.submit()
    expect(stored, "1", a, b, other)
    stored.dispatch(b, other)
    stored.call(stored.owed(a)[0], 1, "0.25")
    stored.call(stored.owed(a)[1], 1, "4", ago="25 h")
    stored.call(stored.owed(a)[2], 1, None)
    stored.call(stored.owed(other)[0], 1, "0.5")
    with transaction(stored.url) as session:
        assert budgets.source_spent_today(session, source_of(stored, "ward")) == Decimal("1.25")


def test_only_what_waits_is_held(stored: Stored) -> None:
    """What is in flight ends, and what is held for another reason stays so."""
    submission, (flying, waiting, paused) = stored.submit(3)
    _, (other,) = stored.submit()
    stored.dispatch(flying)
    stored.ask("UPDATE consultations SET held = 'paused' WHERE id = %s", paused)
    assert hold(stored, submission) == 1
    assert stored.held([flying, waiting, paused, other]) == [None, "budget", "paused", None]
    with transaction(stored.url) as session:
        assert budgets.hold_for_budget(session, source_id=source_of(stored, "local")) == 1
        with pytest.raises(ValueError, match="a submission's or a source's"):
            budgets.hold_for_budget(session)


def test_raising_a_cap_lets_go_on(stored: Stored) -> None:
    """Not below what the next would cost; from then on all; without any cap, what has no price as well."""
    submission, ids = stored.submit(3)
    expect(stored, "1", *ids[:2])
    expect(stored, None, ids[2])
    stored.call(stored.owed(ids[0])[0], 1, "2")
    hold(stored, submission)
    with transaction(stored.url) as session:
        assert budgets.set_submission(session, submission, Decimal("2.9")) == 0
        assert budgets.set_submission(session, submission, Decimal(3)) == 2
    assert stored.held(ids) == [None, None, "budget"]
    with transaction(stored.url) as session:
        assert budgets.set_submission(session, submission, None) == 1


def test_cheaper_than_expected_goes_on_by_itself(stored: Stored) -> None:
    """When what is in flight has cost less than was promised, the sweep lets the rest go on."""
    submission, (flying, waiting) = stored.submit(2)
    expect(stored, "1", flying, waiting)
    with transaction(stored.url) as session:
        budgets.set_submission(session, submission, Decimal("1.5"))
    stored.dispatch(flying)
    hold(stored, submission)
    assert release(stored) == 0
    stored.call(stored.owed(flying)[0], 1, "0.5")
    stored.fail(flying)
    assert release(stored) == 1
    assert stored.held([waiting]) == [None]


def test_a_source_s_hold_ends_with_its_day(stored: Stored) -> None:
    """Yesterday's spending no longer counts; a submission's own cap does."""
    _, (a, b) = stored.submit(2, source="ward")
    capped, (c,) = stored.submit(source="ward")
    expect(stored, "1", a, b, c)
    source = source_of(stored, "ward")
    with transaction(stored.url) as session:
        budgets.set_source(session, source, Decimal(2))
        budgets.set_submission(session, capped, Decimal("0.5"))
    stored.call(stored.owed(a)[0], 1, "1.5")
    with transaction(stored.url) as session:
        assert budgets.hold_for_budget(session, source_id=source) == 3
    assert release(stored) == 0
    stored.ask("UPDATE model_calls SET started_at = started_at - interval '25 h'")
    assert release(stored) == 2
    assert stored.held([a, b, c]) == [None, None, "budget"]
    with transaction(stored.url) as session:
        [row] = budgets.of_sources(session)
        assert (row["source"], row["today_usd"]) == ("ward", 0)
        [row] = budgets.of_submissions(session)
        assert (row["submission"], row["spent_usd"], row["expected_usd"], row["held"]) == (capped, 0, 1, 1)
