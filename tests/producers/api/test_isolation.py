"""Every route with every id of another source: it is not there. A new route is walked once it exists."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from celery import Celery
from sqlalchemy import text

from db.engine import transaction
from db.queries.api_keys import SCOPES
from tests import accepted
from tests.accepted import ROOT
from tests.producers.api.conftest import Door
from tests.producers.api.ended import BAD, concluded, knees
from tests.workers.chat_server import Server

OPEN = {"GET /v1/.well-known/smart-configuration", "POST /v1/token", "GET /healthz"}
"""Need no key."""
ADD = {"POST /v1/submissions"}
OF_THE_SITE = {"GET /v1/chemistry", "GET /v1/chemistry/{snapshot_id}"}
"""Show what was learned from all, without anybody's ids."""
IDS = {
    "submission_id": "SELECT id FROM submissions",
    "consultation_id": "SELECT id FROM consultations",
    "record_id": "SELECT id FROM records",
}
"""Where the values of a path's parameter are; whoever adds another kind of id teaches it here."""
WORDS = {
    "resource_type": ("MedicationRequest", "DetectedIssue", "Provenance", "OperationOutcome"),
    "snapshot_id": (str(uuid.uuid4()),),  # the site's
}
"""Parameters of a path that are no ids of a source."""
LINE = b'{"id": "mine", "vignette": "A man of seventy has had pain in the chest since this morning."}'
WANTED = {"GET": "read", "POST": "submit", "DELETE": "operate"}
"""The scope of a route: its method tells."""
BODIES = {
    "POST /v1/submissions": ("application/x-ndjson", LINE),
    "POST /v1/consultations/{consultation_id}/outcome": (
        "application/json",
        b'{"decision": "accepted", "list": ["acetaminophen"]}',
    ),
}
"""A body that is right, so that it is not the body that is refused."""


def _routes(door: Door) -> list[tuple[str, str]]:
    """Method and path of every operation; what the description hides would not be walked."""
    modules = (ROOT / "producers" / "api").glob("*.py")
    assert not any("include_in_schema" in module.read_text(encoding="utf-8") for module in modules)
    paths = httpx.get(f"{door.url}/v1/openapi.json").json()["paths"]
    found = [(name.upper(), path) for path, item in paths.items() for name in item]
    assert {name for name, _ in found} <= {"GET", "POST", "DELETE"}
    return found


def _filled(path: str, ids: dict[str, list[str]]) -> Iterator[str]:
    """The path with every value of its parameters."""
    found = re.search(r"{(\w+)}", path)
    if found is None:
        yield path
        return
    name = found[1]
    assert name in ids.keys() | WORDS.keys(), f"teach this test where ids for {{{name}}} of {path} are"
    for value in ids.get(name) or WORDS[name]:
        yield from _filled(path.replace(found[0], value), ids)


@pytest.fixture
def theirs(door: Door, app: Celery, server: Server) -> dict[str, list[str]]:
    """All ids of the source `local`: ended and open work, and what was set aside."""
    concluded(door, app, server, [*knees(1), BAD])
    accepted.submit(door.ctx, 1)
    with transaction(door.ctx.settings.require_database()) as session:
        return {
            name: [str(id_) for id_ in session.execute(text(asked)).scalars()] for name, asked in IDS.items()
        }


def _ask(client: httpx.Client, method: str, path: str, filled: str, **headers: str) -> httpx.Response:
    kind, body = BODIES.get(f"{method} {path}", (None, None))
    given = {**headers, **({"Content-Type": kind} if kind else {})}
    return client.request(method, filled.removeprefix("/v1"), content=body, headers=given)


def _stored(door: Door) -> list[tuple[Any, ...]]:
    """Every table's rows of `local`, but for what is only told of them."""
    return accepted.ask(
        door.ctx,
        "SELECT 'c', id::text, state, reason FROM consultations UNION ALL "
        "SELECT 's', id::text, state, finished_at::text FROM submissions UNION ALL "
        "SELECT 'r', id::text, state, erased_at::text FROM records UNION ALL "
        "SELECT 'k', id::text, '', '' FROM data_keys UNION ALL "
        "SELECT 'o', consultation_id::text, kind, '' FROM outcomes ORDER BY 1, 2",
    )


def test_nothing_of_another_source_is_there(door: Door, theirs: dict[str, list[str]]) -> None:
    """Each route with each id: 404, in the same words as for an id that nobody has; lists show none of it,
    and nothing of it has changed afterwards."""
    before, walked = _stored(door), 0
    known = {id_ for ids in theirs.values() for id_ in ids}
    nobodys = {name: [str(uuid.uuid4())] for name in theirs}
    with door.client("other") as stranger:
        for method, path in _routes(door):
            if f"{method} {path}" in OPEN | OF_THE_SITE | ADD:
                continue
            if "{" not in path:
                answer = _ask(stranger, method, path, path)
                assert answer.status_code == 200, (method, path)
                assert not any(id_ in answer.text for id_ in known), (method, path)
                continue
            [missing, *_] = [_ask(stranger, method, path, filled) for filled in _filled(path, nobodys)]
            for filled in _filled(path, theirs):
                answer = _ask(stranger, method, path, filled)
                assert answer.status_code == 404, (method, filled, answer.text)
                assert answer.content == missing.content
                walked += 1
    assert walked >= 12
    assert _stored(door) == before


def test_another_sources_ids_in_queries_show_nothing(door: Door, theirs: dict[str, list[str]]) -> None:
    """A page after a submission of another source is empty; its own idempotency key is its own."""
    with door.client() as owner, door.client("other") as stranger:
        first = owner.get("/submissions", params={"limit": 1})
        assert len(first.json()) == 1
        following = str(first.links["next"]["url"])
        assert len(owner.get(following).json()) == 1
        assert stranger.get(following).json() == []
        mine = owner.post("/submissions", content=LINE, headers=_key("k")).json()["submission"]
        other = stranger.post("/submissions", content=LINE, headers=_key("k"))
        assert (other.status_code, other.json()["repeated"]) == (202, False)
        assert other.json()["submission"] != mine
        [seen] = stranger.get("/submissions").json()
        assert seen["id"] == other.json()["submission"]


def _key(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key, "Content-Type": "application/x-ndjson"}


def test_every_route_wants_a_key_and_a_scope(door: Door, theirs: dict[str, list[str]]) -> None:
    """Without a key 401; with all scopes but the right one 403, before anything is looked for."""
    routes = [(method, path) for method, path in _routes(door) if f"{method} {path}" not in OPEN]
    before = _stored(door)
    with ExitStack() as until:
        nobody = until.enter_context(httpx.Client(base_url=f"{door.url}/v1"))
        clients = {scope: until.enter_context(door.client(scopes=(scope,))) for scope in SCOPES}
        for method, path in routes:
            filled = next(_filled(path, theirs))
            assert _ask(nobody, method, path, filled).status_code == 401, (method, path)
            for scope in clients.keys() - {WANTED[method]}:
                told = _ask(clients[scope], method, path, filled)
                assert (told.status_code, told.json()["type"]) == (403, "forbidden"), (method, path, scope)
    assert _stored(door) == before


def test_a_new_kind_of_id_must_be_taught() -> None:
    """Else the walk would pass it by."""
    with pytest.raises(AssertionError, match=r"teach .* {leaflet_id}"):
        list(_filled("/v1/leaflets/{leaflet_id}", {"record_id": ["x"]}))
