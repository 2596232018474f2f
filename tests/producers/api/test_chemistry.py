"""Snapshots of chemistry: the site's, to read."""

from __future__ import annotations

import uuid
from typing import Any

from db.engine import transaction
from db.queries import snapshots
from shared.chemistry.snapshot import Chemistry, Learned, ModelLearned, PairLearned
from tests.producers.api.conftest import Door

MODEL = ModelLearned("alder", 12.0, 4.0, 0.7, 0.05, 7.1, None, 3.5, 0.01)
CONTENT = Chemistry(
    kinds={
        "medication/cardiology": Learned(
            "outcomes",
            12.0,
            {"a": MODEL, "b": MODEL},
            {("a", "b"): PairLearned(5.0, 0.3, -1, ("a",), 0.02, 0.01)},
            {"weight": 0.4},
            {("alder", "alder"): (0.01, 0.02)},
        )
    }
)


COLUMNS: dict[str, Any] = {
    "form": "default",
    "parameters": {"p": 1},
    "purposes": ["care"],
    "rows_read": 36,
    "span_from": None,
    "span_to": None,
    "digest": "0" * 64,
    "body": CONTENT.to_json(),
}


def stored(door: Door, kind: str = "chemistry", scope: str = "site", **changed: Any) -> uuid.UUID:
    """A snapshot with this content; its id."""
    with transaction(door.ctx.settings.require_database()) as session:
        return snapshots.add(session, kind=kind, scope=scope, **{**COLUMNS, **changed})


def test_the_sites_snapshots(door: Door) -> None:
    """Newest first, page by page, for every source; those of evaluations and other kinds are not there."""
    made = [str(stored(door)) for _ in range(3)]
    others = [stored(door, scope="evaluation-1"), stored(door, "support", body={})]
    with door.client("another") as client:
        page = client.get("/chemistry", params={"limit": 2})
        rest = client.get(page.links["next"]["url"])
        assert [one["id"] for one in page.json() + rest.json()] == made[::-1]
        assert "next" not in rest.links
        assert page.json()[0]["rows_read"] == 36
        found = client.get(f"/chemistry/{made[0]}").json()
        assert Chemistry.from_json(found["content"]) == CONTENT
        assert [client.get(f"/chemistry/{id_}").status_code for id_ in (*others, uuid.uuid4())] == [404] * 3
