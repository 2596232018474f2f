"""Keys: who may come in at all."""

from __future__ import annotations

import httpx
import pytest

from tests.producers.api.conftest import Door


def test_health_needs_no_key(door: Door) -> None:
    assert httpx.get(f"{door.url}/healthz").json() == {"status": "ok"}


def test_a_good_key_opens(door: Door) -> None:
    with door.client() as client:
        assert client.get("/submissions").json() == []


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer x", "Basic Zm9vOmJhcg==", "Bearer cons_0_0"])
def test_without_a_good_key_nothing_opens(door: Door, given: str) -> None:
    found = httpx.get(f"{door.url}/v1/submissions", headers={"Authorization": given} if given else {})
    assert found.status_code == 401
    assert found.headers["content-type"] == "application/problem+json"
    assert found.headers["www-authenticate"] == "Bearer"


def test_a_flipped_character_is_refused(door: Door) -> None:
    key = door.key()
    with httpx.Client(base_url=f"{door.url}/v1") as client:
        for at in range(5, len(key)):
            other = key[:at] + ("A" if key[at] != "A" else "B") + key[at + 1 :]
            answer = client.get("/submissions", headers={"Authorization": f"Bearer {other}"})
            assert answer.status_code == 401, at


def test_a_scope_is_asked_for(door: Door) -> None:
    with door.client(scopes=("submit",)) as client:
        assert client.get("/submissions").status_code == 403


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("submissions", "GET, POST"),
        ("submissions/x", "DELETE, GET"),
        ("records/x", "DELETE, GET"),
        ("outcomes", "GET"),
        ("token", "POST"),
        ("openapi.json", "GET, HEAD"),
    ],
)
def test_another_method_is_told_those_of_the_path(door: Door, path: str, methods: str) -> None:
    answer = httpx.patch(f"{door.url}/v1/{path}")
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)
