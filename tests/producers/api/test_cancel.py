"""DELETE of a submission: what has not begun is cancelled, once, whatever the dispatcher does meanwhile."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.exc import OperationalError

from db.engine import transaction
from db.queries import cancelling, dispatching
from producers.readers.ndjson import read_ndjson
from producers.readers.record import Read
from tests.accepted import ask, consultations_of, submit
from tests.producers.api.conftest import Door
from tests.producers.api.test_submissions import lines, small_chunks

__all__ = ["small_chunks"]
STATES = "SELECT state, count(*) FROM consultations GROUP BY 1 ORDER BY 1"


def take(door: Door, most: int) -> list[uuid.UUID]:
    """What the dispatcher does, once."""
    with transaction(door.ctx.settings.require_database()) as session:
        dispatching.lock(session)
        waiting = dispatching.next_waiting(session, most=most, source_window=most, ageing_s=60)
        return dispatching.take(session, [each.id for each in waiting])


def test_what_has_begun_goes_on(door: Door) -> None:
    """The rest ends as cancelled, with its events, owing nothing; asked again, it tells the same."""
    submission = submit(door.ctx, 5)
    begun = take(door, 2)
    with door.client() as client:
        first = client.delete(f"/submissions/{submission}")
        assert (first.status_code, first.json()) == (200, {"cancelled": 3, "going_on": 2, "ended": 0})
        assert client.delete(f"/submissions/{submission}").json() == first.json()
    assert ask(door.ctx, STATES) == [("cancelled", 3), ("open", 2)]
    owing = {id_ for (id_,) in ask(door.ctx, "SELECT consultation_id FROM owed_answers WHERE state = 'owed'")}
    assert owing == set(begun)
    told = {id_ for (id_,) in ask(door.ctx, "SELECT consultation_id FROM outbox_events")}
    assert told == set(consultations_of(door.ctx, submission)) - set(begun)
    assert take(door, 9) == []
    audited = ask(door.ctx, "SELECT which FROM audit WHERE what = 'cancel' AND starts_with(who, 'key ')")
    assert audited == [(str(submission),)]


@pytest.mark.parametrize(
    ("state", "breaks"), [("open", "events.finish_submissions"), ("receiving", "receiving.clear")]
)
def test_what_is_broken_off_is_in_the_audit(
    door: Door, monkeypatch: pytest.MonkeyPatch, state: str, breaks: str
) -> None:
    """Once, with the first change; asked again, there is nothing more to say."""
    submission = submit(door.ctx, 5)
    ask(door.ctx, "UPDATE submissions SET state = %s", state)

    def broken(*_given: object) -> None:
        raise OperationalError("away", {}, OSError())

    with door.client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(f"producers.cancelling.{breaks}", broken)
            assert client.delete(f"/submissions/{submission}").status_code == 503
        assert client.delete(f"/submissions/{submission}").json()["cancelled"] == 5
    assert ask(door.ctx, "SELECT which FROM audit WHERE what = 'cancel'") == [(str(submission),)]


def test_where_nothing_has_begun_it_is_finished(door: Door) -> None:
    """All cancelled: the submission ends, with its event."""
    submission = submit(door.ctx, 2)
    with door.client() as client:
        assert client.delete(f"/submissions/{submission}").json()["cancelled"] == 2
    assert ask(door.ctx, "SELECT state FROM submissions") == [("finished",)]
    assert ask(door.ctx, "SELECT count(*) FROM outbox_events WHERE type = 'submission.finished'") == [(1,)]


def test_another_source_finds_nothing(door: Door) -> None:
    """Nor does a key without the scope get in; nothing changes."""
    submission = submit(door.ctx, 1)
    with door.client("ward") as ward, door.client(scopes=("submit", "read")) as weak:
        assert ward.delete(f"/submissions/{submission}").status_code == 404
        assert ward.delete(f"/submissions/{uuid.uuid4()}").status_code == 404
        assert weak.delete(f"/submissions/{submission}").status_code == 403
    assert ask(door.ctx, STATES) == [("open", 1)]


def test_one_that_is_still_received_is_erased(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text and its key go at once; its sender finds that it is gone, and may send anew."""
    cancelled: list[dict[str, int]] = []
    with door.client() as client:

        def broken_off(_inputs: object, **_options: object) -> Iterator[Read]:
            yield from read_ndjson(itertools.islice(lines(25).splitlines(), 20))
            [(submission,)] = ask(door.ctx, "SELECT id FROM submissions")
            with door.client() as other:
                cancelled.append(other.delete(f"/submissions/{submission}").json())
            yield from read_ndjson(lines(25).splitlines()[20:])

        keyed = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "monday"}
        with monkeypatch.context() as patched:
            patched.setattr("producers.api.submissions.read_inputs", broken_off)
            answer = client.post("/submissions", content=lines(25), headers=keyed)
        assert (answer.status_code, answer.json()["type"]) == (410, "abandoned")
        assert cancelled == [{"cancelled": 10, "going_on": 0, "ended": 0}]
        assert ask(door.ctx, "SELECT count(*) FROM data_keys") == [(0,)]
        assert ask(door.ctx, "SELECT state FROM submissions") == [("cancelled",)]
        again = client.post("/submissions", content=lines(25), headers=keyed)
        assert (again.status_code, again.json()["accepted"]) == (202, 25)


@contextmanager
def running(target: object) -> Iterator[None]:
    """It goes on in a thread of its own meanwhile."""
    thread = threading.Thread(target=target)  # type: ignore[arg-type]
    thread.start()
    yield
    thread.join()


def test_a_dispatcher_at_the_same_moment(door: Door) -> None:
    """Each consultation is either taken or cancelled, never both and never neither."""
    submission = submit(door.ctx, 60)
    taken: list[uuid.UUID] = []

    def dispatcher() -> None:
        while some := take(door, 4):
            taken.extend(some)

    url = door.ctx.settings.require_database()
    with running(dispatcher):
        more = True
        while more:
            with transaction(url) as session:
                more = cancelling.cancel(session, submission, most=3) > 0
    states = dict(ask(door.ctx, "SELECT id, state FROM consultations"))
    assert {id_ for id_, state in states.items() if state == "open"} == set(taken)
    assert set(states.values()) <= {"open", "cancelled"}


def test_what_the_dispatcher_has_taken_but_not_committed_goes_on(door: Door) -> None:
    """Cancelling waits for its commit, and leaves what it took."""
    submission = submit(door.ctx, 3)
    found: list[dict[str, int]] = []

    def delete() -> None:
        with door.client() as client:
            found.append(client.delete(f"/submissions/{submission}").json())

    with transaction(door.ctx.settings.require_database()) as session:
        dispatching.lock(session)
        waiting = dispatching.next_waiting(session, most=1, source_window=9, ageing_s=60)
        dispatching.take(session, [each.id for each in waiting])
        thread = threading.Thread(target=delete)
        thread.start()
        while not ask(door.ctx, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            pass
    thread.join()
    assert found == [{"cancelled": 2, "going_on": 1, "ended": 0}]
