"""How far a submission is: pages of the list, the asynchronous pattern, the plain status."""

from __future__ import annotations

import uuid
from datetime import datetime

import pytest
from fastapi.testclient import TestClient

from producers.api.access import Site
from producers.api.app import create_app
from tests import accepted
from tests.producers.api.conftest import Door
from tests.producers.api.ended import BAD, end, knees


def test_pages_of_the_list_hold_each_once(door: Door) -> None:
    """Newest first, each once, by the Links alone; `state` filters; a cursor that is not ours is refused."""
    made = [str(accepted.submit(door.ctx)) for _ in range(5)]
    accepted.ask(door.ctx, "UPDATE submissions SET state = 'cancelled' WHERE id = %s", made[1])
    with door.client() as client:
        seen, url = [], "/submissions?limit=2"
        while url:
            page = client.get(url)
            seen.append([one["id"] for one in page.json()])
            url = page.links.get("next", {}).get("url", "")
        assert seen == [made[:2:-1], made[2:0:-1], made[:1]]
        only = client.get("/submissions", params={"state": "cancelled"}).json()
        assert [(one["id"], one["open"]) for one in only] == [(made[1], 1)]
        linked = client.get("/submissions", params={"limit": 1, "state": "open", "why": "ZEBRA-1"})
        assert "state=open" in linked.headers["link"]
        assert "ZEBRA" not in linked.headers["link"]
        for cursor in ("x", "A" * 21 + "é", made[0]):
            assert client.get("/submissions", params={"after": cursor}).status_code == 422


def test_the_asynchronous_pattern(door: Door) -> None:
    """202 with progress while anything is open, then 200 with files that can be fetched as they are told."""
    submission = accepted.submit(door.ctx, [*knees(2), BAD])
    first, second = accepted.consultations_of(door.ctx, submission)
    accepted.ask(door.ctx, "UPDATE consultations SET held = 'budget' WHERE id = %s", second)
    end(door.ctx, first)
    with door.client() as client:
        running = client.get(f"/submissions/{submission}")
        assert running.status_code == 202
        assert running.headers["x-progress"] == "1 of 2 ended"
        assert 1 <= int(running.headers["retry-after"]) <= 60
        body = running.json()
        assert (body["state"], body["held"], body["seconds_left"]) == ("open", {"budget": 1}, None)
        counts = body["counts"]
        assert (counts["records"], counts["set_aside"], counts["failed"], counts["waiting"]) == (3, 1, 1, 1)

        end(door.ctx, second)
        done = client.get(f"/submissions/{submission}")
        assert done.status_code == 200
        body = done.json()
        assert body["requiresAccessToken"] is True
        assert body["request"] == f"{door.url}/v1/submissions"
        [listed] = client.get("/submissions").json()
        assert datetime.fromisoformat(body["transactionTime"]) == datetime.fromisoformat(
            listed["finished_at"]
        )
        assert [(one["type"], one.get("count")) for one in body["output"]] == [("Result", 3)]
        assert [(one["type"], one.get("count")) for one in body["error"]] == [
            ("OperationOutcome", None),
            ("Error", 1),
        ]
        for one in body["output"] + body["error"]:
            answer = client.get(one["url"])
            assert answer.status_code == 200
            if "count" in one:
                assert len(answer.text.splitlines()) == one["count"]


def test_what_is_not_all_there_is_running(door: Door) -> None:
    """A submission that is received says so, and nothing ends it for a client but its end."""
    submission = accepted.submit(door.ctx)
    accepted.ask(door.ctx, "UPDATE submissions SET state = 'receiving' WHERE id = %s", submission)
    with door.client() as client:
        found = client.get(f"/submissions/{submission}")
        assert (found.status_code, found.headers["x-progress"]) == (202, "receiving: 1 records so far")
        # cancelled: what has begun goes on, and the outputs are not told before it has ended
        accepted.ask(door.ctx, "UPDATE submissions SET state = 'cancelled' WHERE id = %s", submission)
        assert client.get(f"/submissions/{submission}").status_code == 202
        end(door.ctx, *accepted.consultations_of(door.ctx, submission))
        done = client.get(f"/submissions/{submission}")
        assert (done.status_code, done.json()["state"]) == (200, "cancelled")


def test_status_always_answers_200(door: Door) -> None:
    """Counts, stages, what holds and why it failed, cost by known prices."""
    submission = accepted.submit(door.ctx, 2, budget_usd="2.5")
    ended, _ = accepted.consultations_of(door.ctx, submission)
    with door.client() as client:
        before = client.get(f"/submissions/{submission}/status").json()
        assert (before["counts"]["waiting"], before["spent_usd"], before["models"]) == (2, "0.00000000", [])
        end(door.ctx, ended)
        accepted.ask(door.ctx, "UPDATE consultations SET spent_usd = 0.25 WHERE id = %s", ended)
        after = client.get(f"/submissions/{submission}/status").json()
    assert after["for_a_person"] == {"failed: no_quorum": 1}
    assert (after["spent_usd"], after["budget_usd"]) == ("0.25000000", "2.50000000")
    assert (after["strategy"], after["n"], after["state"]) == ("FIXED", 3, "open")


def test_addresses_are_those_that_clients_know(door: Door) -> None:
    """Behind a proxy the manifest and the Links name the public address."""
    ctx, key = door.ctx, door.key()
    submissions = [accepted.submit(ctx) for _ in range(2)]
    end(ctx, *(one for each in submissions for one in accepted.consultations_of(ctx, each)))
    public = ctx.settings.model_copy(update={"api_public_url": "https://door.example/consilium/"})
    app = create_app(Site(public, ctx.registry, ctx.vault))
    with TestClient(app, headers={"Authorization": f"Bearer {key}"}) as client:
        output = client.get(f"/v1/submissions/{submissions[0]}").json()["output"]
        link = client.get("/v1/submissions?limit=1").headers["link"]
    assert output[0]["url"] == f"https://door.example/consilium/v1/submissions/{submissions[0]}/results"
    assert link.startswith("<https://door.example/consilium/v1/submissions?limit=1&after=")


@pytest.mark.parametrize("path", ["", "/status"])
def test_anothers_is_not_there(door: Door, path: str) -> None:
    """Another source's id and one of nobody are answered alike."""
    submission = accepted.submit(door.ctx)
    with door.client("other") as other:
        told = [other.get(f"/submissions/{id_}{path}") for id_ in (submission, uuid.uuid4())]
        assert [answer.status_code for answer in told] == [404, 404]
        assert told[0].content == told[1].content
        assert other.get("/submissions").json() == []
