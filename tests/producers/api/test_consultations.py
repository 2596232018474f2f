"""One consultation in full."""

from __future__ import annotations

import uuid

from celery import Celery

from tests import accepted
from tests.producers.api.conftest import Door
from tests.producers.api.ended import KNEE, concluded, knees
from tests.workers.chat_server import Server


def test_a_consultation_tells_how_it_came(door: Door, app: Celery, server: Server) -> None:
    """The lists, the edit in words, the findings, who answered what, each grade, each call."""
    [id_] = accepted.consultations_of(door.ctx, concluded(door, app, server))
    with door.client() as client:
        found = client.get(f"/consultations/{id_}").json()
    told = accepted.ask(door.ctx, "SELECT which FROM audit WHERE what = 'consultation.read'")
    assert told == [(str(id_),)]
    assert found["state"] in ("completed", "needs_review")
    assert (found["record"]["vignette"], found["record"]["id"]) == (KNEE["vignette"], "knee-0")
    made = found["concluded"]
    assert made["lists"]["majority"] == ["acetaminophen", "ibuprofen"]
    assert made["lists"]["refined"] == ["acetaminophen"]
    [step] = made["steps"]
    assert step["in_words"].startswith("ibuprofen removed: with warfarin, major bleeding")
    assert step["gain"]["severity"] > 0 > step["gain"]["support"]
    by_name = {drug["drug"]: drug for drug in made["drugs"]}
    assert (by_name["ibuprofen"]["proposed_by"], by_name["naproxen"]["minority"]) == (["A", "B"], True)
    assert [seat["label"] for seat in found["seats"]] == ["A", "B", "C"]
    assert found["seats"][2]["recommendation"]["medications"][0]["name"] == "naproxen"
    assert all(0 <= seat["grade"] <= 1 and seat["reliability"] is not None for seat in found["seats"])
    assert {(r["reviewer"], r["author"]) for r in found["reviews"]} == {
        (u, i) for u in "ABC" for i in "ABC" if u != i
    }
    assert {r["position"] for r in found["reviews"]} == {1, 2}
    assert [call["kind"] for call in found["calls"]].count("review") == 6


def test_a_consultation_that_has_not_begun(door: Door) -> None:
    """Seats without answers, nothing concluded; without its key no record."""
    [id_] = accepted.consultations_of(door.ctx, accepted.submit(door.ctx, knees(1)))
    accepted.ask(door.ctx, "DELETE FROM data_keys")
    with door.client() as client:
        found = client.get(f"/consultations/{id_}").json()
    assert (found["stage"], found["concluded"], found["record"], found["spent_usd"]) == (
        *("waiting", None, None),
        "0.00000000",
    )
    assert [(seat["state"], seat["recommendation"]) for seat in found["seats"]] == [("owed", None)] * 3


def test_anothers_is_not_there(door: Door) -> None:
    """Another source's id and one of nobody are answered alike."""
    [id_] = accepted.consultations_of(door.ctx, accepted.submit(door.ctx))
    with door.client("other") as other:
        told = [other.get(f"/consultations/{one}") for one in (id_, uuid.uuid4())]
    assert [answer.status_code for answer in told] == [404, 404]
    assert told[0].content == told[1].content
