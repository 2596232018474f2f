"""Pauses: what is paused, and what goes on when one is lifted."""

from __future__ import annotations

import uuid

import pytest

from db.engine import transaction
from db.queries import pauses
from db.queries.pauses import Paused, Scope
from embedded.services import Services
from tests.accepted import TRIO
from tests.stored import Stored


@pytest.fixture
def stored(database_url: str, services: Services) -> Stored:
    """A fresh database with a second source."""
    assert services.addresses.site_key
    made = Stored(database_url, services.addresses.site_key)
    made.source("ward")
    return made


def resume(stored: Stored, scope: Scope, name: str = "") -> bool:
    """One pause lifted, that was made just before."""
    with transaction(stored.url) as session:
        pauses.pause(session, scope, name)
    with transaction(stored.url) as session:
        return pauses.resume(session, scope, name)


def hold(stored: Stored, *ids: uuid.UUID, held: str | None = "paused") -> None:
    """In flight, and held until much later."""
    stored.dispatch(*ids)
    stored.ask("UPDATE consultations SET held = %s WHERE id = ANY(%s)", held, list(ids))


def due(stored: Stored, id_: uuid.UUID) -> bool:
    """Whether it would be resumed now, and is no longer held as paused."""
    [(flagged, now, held)] = stored.ask(
        "SELECT flagged, next_resume_at <= now(), held FROM consultations WHERE id = %s", id_
    )
    return bool(flagged and now and held != "paused")


def test_twice_is_once(stored: Stored) -> None:
    """A second pause or resume changes nothing and says so."""
    with transaction(stored.url) as session:
        assert pauses.paused(session) == Paused(False, frozenset(), frozenset())
        assert [pauses.pause(session, "source", "ward") for _ in range(2)] == [True, False]
        assert [pauses.pause(session, "all") for _ in range(2)] == [True, False]
        assert pauses.pause(session, "model", "ward")
        assert pauses.paused(session) == Paused(True, frozenset({"ward"}), frozenset({"ward"}))
        assert [pauses.resume(session, "all") for _ in range(2)] == [True, False]
        assert pauses.paused(session) == Paused(False, frozenset({"ward"}), frozenset({"ward"}))


def test_all_goes_on(stored: Stored) -> None:
    """In flight: due at once. Not yet dispatched: to be dispatched. Held for another reason: as it was."""
    _, (flying, waiting, unread, over) = stored.submit(4)
    hold(stored, flying)
    hold(stored, unread, held="unread answer")
    limited = stored.owed(flying)[0]
    stored.ask(
        "UPDATE owed_answers SET reason = 'rate_limited', not_before = now() + interval '1 h' WHERE id = %s",
        limited,
    )
    stored.ask("UPDATE consultations SET held = 'paused' WHERE id = %s", waiting)
    stored.ask("UPDATE consultations SET held = 'budget' WHERE id = %s", over)
    assert resume(stored, "all")
    assert due(stored, flying)
    assert stored.ask("SELECT not_before > now() FROM owed_answers WHERE id = %s", limited) == [(True,)]
    assert not due(stored, unread)
    assert stored.held([flying, waiting, unread, over]) == [None, None, "unread answer", "budget"]
    assert stored.row("consultations", waiting)["flagged"] is False, "the dispatcher's, not the sweep's"


def test_a_source_goes_on_alone(stored: Stored) -> None:
    """Another source's work stays paused."""
    _, (ours,) = stored.submit(source="ward")
    _, (theirs,) = stored.submit()
    hold(stored, ours, theirs)
    assert resume(stored, "source", "ward")
    assert (due(stored, ours), due(stored, theirs)) == (True, False)


def test_a_model_goes_on(stored: Stored) -> None:
    """What waits for it is due now; what waits for another model, or for a rate limit, waits on."""
    _, (a, b) = stored.submit(2)
    stored.dispatch(a, b)
    ours, other, limited = stored.owed(a)
    wait = (
        "UPDATE owed_answers SET reason = %s, not_before = now() + interval '1 h', away_since = now() "
        "WHERE id = %s"
    )
    stored.ask(wait, "paused", ours)
    stored.ask(wait, "paused", other)
    stored.ask(wait, "rate_limited", limited)
    stored.ask(wait, "paused", stored.owed(b)[1])
    assert resume(stored, "model", TRIO[0])
    later = [
        late
        for (late,) in stored.ask(
            "SELECT not_before > now() FROM owed_answers WHERE id = ANY(%s) ORDER BY seat",
            [ours, other, limited],
        )
    ]
    assert later == [False, True, True]
    assert stored.row("owed_answers", ours)["away_since"] is None
    assert (due(stored, a), due(stored, b)) == (True, False)


def test_models_that_all_were_paused(stored: Stored) -> None:
    """A consultation that is held because its models are away looks again when one of them is resumed."""
    _, (a, b) = stored.submit(2)
    hold(stored, a, b, held="no models")
    stored.ask("UPDATE owed_answers SET state = 'excused', reason = 'away' WHERE id = %s", stored.owed(b)[0])
    assert resume(stored, "model", TRIO[0])
    assert (due(stored, a), due(stored, b)) == (True, False)
