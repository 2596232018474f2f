"""Outcomes over HTTP: a clinician's decision comes back, as JSON and as FHIR, and is learned from."""

from __future__ import annotations

import gzip
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from celery import Celery

from db.engine import transaction
from db.queries import calibration
from tests.accepted import ask, consultations_of, submit
from tests.producers.api.conftest import Door
from tests.producers.api.ended import concluded
from tests.workers.chat_server import Server

FHIR = "application/fhir+json"
OURS = "acetaminophen"


@pytest.fixture
def consultation(door: Door, app: Celery, server: Server) -> uuid.UUID:
    """One that proposes acetaminophen."""
    [found] = consultations_of(door.ctx, concluded(door, app, server))
    return found


def tell(client: httpx.Client, consultation: uuid.UUID, body: Any, media_type: str = FHIR) -> httpx.Response:
    """Send an outcome."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = f"/consultations/{consultation}/outcome"
    return client.post(path, content=content, headers={"Content-Type": media_type})


def stored(door: Door) -> list[tuple[Any, ...]]:
    """(kind, decision, gold) of all outcomes, in order."""
    return ask(door.ctx, "SELECT kind, decision, gold FROM outcomes WHERE kind <> 'gold' ORDER BY known_at")


def proposals(client: httpx.Client, door: Door) -> list[dict[str, Any]]:
    """Our MedicationRequests as a client gets them."""
    [(submission,)] = ask(door.ctx, "SELECT id FROM submissions")
    lines = client.get(f"/submissions/{submission}/fhir/MedicationRequest").text.splitlines()
    return [json.loads(line) for line in lines]


def answer(proposal: dict[str, Any], status: str = "active", **changes: Any) -> dict[str, Any]:
    """A request that answers a proposal of ours."""
    return {
        "resourceType": "MedicationRequest",
        "status": status,
        "intent": "order",
        "basedOn": [{"reference": f"MedicationRequest/{proposal['id']}"}],
        "medicationCodeableConcept": proposal["medicationCodeableConcept"],
        "subject": proposal["subject"],
        **changes,
    }


def test_a_decision_is_stored_once_and_learned_from(door: Door, consultation: uuid.UUID) -> None:
    """201, and 200 where it is known, also at once; another is added beside it and counts, gold after it."""
    given = {"decision": "accepted"}
    with door.client() as client, ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(tell, client, consultation, given, "application/json") for _ in range(4)]
        answers = [each.result() for each in sent]
        assert sorted(each.status_code for each in answers) == [200, 200, 200, 201]
        assert all(each.json()["decision"] == "accepted" for each in answers)
        assert sorted(each.json()["added"] for each in answers) == [False, False, False, True]
        edited = {"decision": "edited", "list": ["Tylenol 500 mg", "foozumab"]}
        assert tell(client, consultation, edited, "application/json; charset=utf-8").status_code == 201
        with transaction(door.ctx.settings.require_database()) as session:
            [case] = calibration.cases(session, ["evaluation"])
        assert case.right is False
        [share] = client.get("/outcomes").json()
        both = {"decision": "rejected", "gold": {"required": [{"any_of": ["Advil"]}]}}
        for status in (201, 200):
            assert tell(client, consultation, both, "application/json").status_code == status
    accepted, other, rejected = stored(door)
    assert accepted[:2] == ("clinician", "accepted")
    assert accepted[2] == {"required": [{"any_of": [OURS]}], "acceptable": [], "never": []}
    assert other[1] == "edited"
    assert "foozumab" not in json.dumps(other[2])
    assert rejected[1:] == ("rejected", {"required": [], "acceptable": [], "never": [OURS]})
    [*_, (gold,)] = ask(door.ctx, "SELECT gold FROM outcomes WHERE kind = 'gold' ORDER BY known_at")
    assert gold["required"] == [{"any_of": ["ibuprofen"]}]
    assert (share["share"], share["accepted"], share["edited"], share["drugs_with"]) == (1, 0, 1, 1)
    audited = ask(door.ctx, "SELECT who, which FROM audit WHERE what = 'outcome'")
    assert len(audited) == 3
    assert {which for _, which in audited} == {str(consultation)}
    assert all(who.startswith("key ") for who, _ in audited)


def test_gold_that_no_list_can_meet_is_refused(door: Door, consultation: uuid.UUID) -> None:
    """422 with the place, and nothing of the outcome is stored, the decision neither."""
    gold = {"required": [{"any_of": ["Advil"]}], "never": ["ibuprofen"]}
    with door.client() as client:
        answered = tell(client, consultation, {"decision": "accepted", "gold": gold}, "application/json")
    assert answered.status_code == 422
    [error] = answered.json()["errors"]
    assert error["where"] == "gold.required.0"
    assert "no list could be right" in error["reason"]
    assert stored(door) == []


def test_requests_based_on_ours_come_back(door: Door, consultation: uuid.UUID) -> None:
    """As one, a list or a Bundle; whatever the dose. Nothing taken is a rejection, another drug an edit."""
    with door.client() as client:
        [ours] = proposals(client, door)
        other = answer(ours, medicationCodeableConcept={"text": "naproxen 250 mg"})
        dosed = answer(ours, dosageInstruction=[{"text": "1 g"}])
        coded = answer(ours)
        coded["medicationCodeableConcept"] = {
            "coding": [
                {k: v for k, v in ours["medicationCodeableConcept"]["coding"][0].items() if k != "display"}
            ]
        }
        absolute = answer(
            ours, basedOn=[{"reference": f"https://ehr.example/MedicationRequest/{ours['id']}"}]
        )
        grouped = answer(ours, groupIdentifier=ours["groupIdentifier"])
        del grouped["basedOn"]
        planned = {**grouped, "basedOn": [{"reference": "CarePlan/77"}]}
        named = answer(ours, basedOn=[{"identifier": ours["identifier"][0]}], status="completed")
        bundle = {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {
                    "fullUrl": "urn:uuid:aa",
                    "resource": {"resourceType": "Medication", "id": "m", "code": {"text": "Tylenol"}},
                },
                {"resource": answer(ours, medicationReference={"reference": "urn:uuid:aa"})},
            ],
        }
        del bundle["entry"][1]["resource"]["medicationCodeableConcept"]
        for body in (dosed, coded, absolute, grouped, planned, named, bundle, [dosed]):
            said = tell(client, consultation, body)
            assert said.json()["decision"] == "accepted", (body, said.text)
        assert len(stored(door)) == 1
        assert tell(client, consultation, [dosed, other]).json()["decision"] == "edited"
        assert tell(client, consultation, answer(ours, "cancelled")).json()["decision"] == "rejected"
    assert stored(door)[-1][2]["never"] == [OURS]


def test_what_answers_nothing_of_ours_is_refused(door: Door, consultation: uuid.UUID) -> None:
    """With its place, and nothing of it stored or said again."""
    secret = "ZEBRA-7"
    with door.client() as client:
        [ours] = proposals(client, door)
        alien = answer(ours, basedOn=[{"reference": f"MedicationRequest/{uuid.uuid4()}"}])
        group = {"value": f"urn:uuid:{uuid.uuid4()}"}
        nameless = answer(ours, medicationCodeableConcept={"coding": [{"code": secret}]})
        for body, where in (
            (alien, "MedicationRequest.basedOn"),
            (answer(ours, basedOn=[], groupIdentifier=group), "MedicationRequest.basedOn"),
            (answer(ours, "draft"), "MedicationRequest.status"),
            (answer(ours, secret), "MedicationRequest.status"),
            (nameless, "MedicationRequest.medicationCodeableConcept"),
            ({"resourceType": "Patient", "id": secret}, ""),
            ({"resourceType": "Bundle", "type": "collection"}, ""),
            ([], ""),
            (b"", ""),
            (b"\xff{" + secret.encode(), ""),
            (b"[" * 100_000, ""),
        ):
            said = tell(client, consultation, body)
            assert said.status_code == 422, (body[:80], said.text)
            assert said.json()["errors"][0]["where"] == where
            assert secret not in said.text
        for own, where in (
            (f'{{"decision": "{secret}"}}', "decision"),
            ('{"decision": "edited"}', "list"),
            (f'{{"decision": "accepted", "list": ["{secret}"]}}', "list"),
            (f'{{"decision": "accepted", "{secret}": 1}}', ""),
            ('{"decision": "edited", "list": ["\\ud800"]}', ""),
            ('{"decision": "edited", "list": [""]}', "list.0"),
            ("", ""),
        ):
            said = tell(client, consultation, own.encode(), "application/json")
            assert said.status_code == 422, own
            assert said.json()["errors"][0]["where"] == where, own
            assert secret not in said.text
    assert stored(door) == []


def test_only_ones_own_concluded_consultations_have_outcomes(door: Door, consultation: uuid.UUID) -> None:
    """404 for others, 409 while it runs, 415 and 413 for what is no outcome, 403 without the scope."""
    accepted = {"decision": "accepted"}
    [running] = consultations_of(door.ctx, submit(door.ctx))
    with door.client("another") as other:
        assert tell(other, consultation, accepted, "application/json").status_code == 404
        assert other.get("/outcomes").json() == []
    with door.client(scopes=("read",)) as reader:
        assert tell(reader, consultation, accepted, "application/json").status_code == 403
    with door.client() as client:
        assert tell(client, uuid.uuid4(), accepted, "application/json").status_code == 404
        assert tell(client, running, accepted, "application/json").status_code == 409
        assert tell(client, consultation, accepted, "text/csv").status_code == 415
        assert tell(client, consultation, b" " * (1024 * 1024 + 1)).status_code == 413
        client.headers["Content-Encoding"] = "gzip"
        packed = tell(client, consultation, gzip.compress(json.dumps(accepted).encode()), "application/json")
        assert (packed.status_code, packed.headers["accept-encoding"]) == (415, "identity")
    assert stored(door) == []
