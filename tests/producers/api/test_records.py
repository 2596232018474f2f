"""DELETE /v1/records/{id}: erased for good, by its source alone."""

from __future__ import annotations

import json
import uuid

from db.engine import transaction
from producers.results import pages
from tests.accepted import ask, submit
from tests.producers.api.conftest import Door

LINES = [
    json.dumps({"id": "MRN-1", "vignette": "A man of seventy has chest pain."}).encode(),
    json.dumps({"id": "MRN-2"}).encode(),
]


def records_of(door: Door) -> list[uuid.UUID]:
    """One accepted and one set aside."""
    submit(door.ctx, LINES, purpose="care")
    return [id_ for (id_,) in ask(door.ctx, "SELECT id FROM records ORDER BY ordinal")]


def test_erased_for_good(door: Door) -> None:
    """200 with what is left, twice the same; results say so, the own id is free, each is audited once."""
    good, bad = records_of(door)
    with door.client() as client:
        before = client.get(f"/records/{good}").json()
        assert (before["text"], before["erased_at"], before["consultation_state"]) == ("kept", None, "open")
        done = client.delete(f"/records/{good}")
        assert done.status_code == 200
        left = done.json()
        assert (left["text"], left["consultation_state"], left["reason"]) == ("erased", "cancelled", "erased")
        assert left["erased_at"] is not None
        assert client.delete(f"/records/{good}").json() == client.get(f"/records/{good}").json() == left
        aside = client.delete(f"/records/{bad}").json()
        assert (aside["text"], aside["state"], aside["consultation"]) == ("erased", "set_aside", None)
    assert ask(door.ctx, "SELECT count(*) FROM data_keys") == [(0,)]
    audited = ask(door.ctx, "SELECT who, which FROM audit WHERE what = 'erase' ORDER BY id")
    assert [which for _, which in audited] == [str(good), str(bad)]
    assert {who.partition(" ")[0] for who, _ in audited} == {"key"}
    again = submit(door.ctx, LINES[:1], purpose="care")
    assert ask(door.ctx, "SELECT set_aside FROM submissions WHERE id = %s", again) == [(0,)]
    url = door.ctx.settings.require_database()
    submission = uuid.UUID(left["submission"])
    [[row, _]] = pages(lambda: transaction(url), door.ctx.vault, submission)
    assert (row["id"], row["state"], row["reason"]) == (None, "cancelled", "erased")


def test_others_and_unknown_ones_are_not_there(door: Door) -> None:
    """Another source's record and nobody's are 404 alike, and nothing of them changes."""
    good, _ = records_of(door)
    with door.client("elsewhere") as client:
        for asked in (good, uuid.uuid4()):
            assert client.get(f"/records/{asked}").status_code == 404
            answer = client.delete(f"/records/{asked}")
            assert (answer.status_code, answer.json()["type"]) == (404, "not-found")
        assert client.delete("/records/MRN-1").status_code == 422
    assert ask(door.ctx, "SELECT count(*) FROM data_keys") == [(2,)]


def test_only_who_operates_erases(door: Door) -> None:
    """A key that may read and submit may not erase."""
    good, _ = records_of(door)
    with door.client(scopes=("read", "submit")) as client:
        assert client.get(f"/records/{good}").status_code == 200
        assert client.delete(f"/records/{good}").status_code == 403
    assert ask(door.ctx, "SELECT count(*) FROM data_keys") == [(2,)]
