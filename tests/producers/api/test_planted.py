"""Text planted in every field that comes in over HTTP: it lies in sealed documents, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import redis
from pydantic import BaseModel
from starlette.types import Message

from db.queries import events
from db.queries.documents import Vault
from embedded.services import Services
from producers.api import consultations, outputs
from producers.api.app import create_app
from producers.delivery.webhooks import Webhooks
from tests import accepted
from tests.accepted import ask
from tests.producers.api.conftest import Door, opened
from tests.producers.delivery.conftest import add
from tests.producers.delivery.receiver import Receiver, receiving

PLANTED = "ZEBRA"
NOT_OURS = ("httpx", "httpcore", "uvicorn.access")
"""Loggers of the test's own client, which tell its addresses; and the server's access log, which is off:
pytest attaches itself to it all the same."""


@pytest.fixture
def door(database_url: str, services: Services) -> Iterator[Door]:
    """The API on a fresh database, with a broker."""
    ctx = accepted.context(
        database_url,
        broker_url=services.addresses.broker_url,
        site_key=services.addresses.site_key,
        api_requests_per_minute=100_000,
    )
    with opened(replace(ctx, vault=Vault.of(ctx.settings))) as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody's webhook."""
    with receiving() as server:
        yield server


def bundle(k: int) -> dict[str, Any]:
    """A patient whose every field of text is planted."""

    def text(field: str) -> str:
        return f"ZEBRA-{field}-{k}"

    def coded(field: str) -> dict[str, Any]:
        coding = {
            "system": "http://example.org/ZEBRA",
            "code": text(field),
            "display": text(f"{field}-shown"),
        }
        return {"text": text(field), "coding": [coding]}

    patient = {"reference": f"Patient/{text('patient')}", "display": text("patient-shown")}
    note = [{"text": text("note"), "authorString": text("author")}]
    divided = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{text("div")}</div>'}
    common = {"text": divided, "identifier": [{"system": text("system"), "value": text("identifier")}]}
    each: list[dict[str, Any]] = [
        {
            "resourceType": "Patient",
            "id": text("patient"),
            "gender": "female",
            "birthDate": "1951-02-03",
            "name": [{"family": text("family"), "given": [text("given")], "text": text("name")}],
            "telecom": [{"system": "email", "value": f"{text('mail')}@example.org"}],
            "address": [{"line": [text("street")], "city": text("city"), "postalCode": text("code")}],
            "contact": [{"name": {"text": text("contact")}}],
            "extension": [{"url": f"http://example.org/{text('url')}", "valueString": text("extension")}],
        },
        {
            "resourceType": "Condition",
            "id": text("condition"),
            "subject": patient,
            "clinicalStatus": {"coding": [{"code": "active"}]},
            "code": coded("diagnosis"),
            "note": note,
        },
        {
            "resourceType": "AllergyIntolerance",
            "id": text("allergy"),
            "patient": patient,
            "clinicalStatus": {"coding": [{"code": "active"}]},
            "code": coded("allergen"),
            "note": note,
        },
        {
            "resourceType": "MedicationRequest",
            "id": text("order"),
            "status": "active",
            "intent": "order",
            "subject": patient,
            "medicationCodeableConcept": coded("drug"),
            "dosageInstruction": [{"text": text("dosage")}],
            "note": note,
        },
        {
            "resourceType": "Observation",
            "id": text("observation"),
            "status": "final",
            "subject": patient,
            "code": coded("measured"),
            "valueString": text("value"),
            "note": note,
        },
        {
            "resourceType": "DocumentReference",
            "id": text("document"),
            "status": "current",
            "subject": patient,
            "type": coded("kind"),
            "description": text("description"),
            "content": [
                {
                    "attachment": {
                        "contentType": "text/plain",
                        "title": text("title"),
                        "data": base64.b64encode(f"She says {text('story')}.".encode()).decode(),
                    }
                }
            ],
        },
    ]
    entries = [
        {"fullUrl": f"http://example.org/{one['resourceType']}/{one['id']}", "resource": {**common, **one}}
        for one in each
    ]
    return {"resourceType": "Bundle", "id": text("bundle"), "type": "collection", "entry": entries}


BAD: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/submissions", {"content": b'{"id": "ZEBRA-cut', "headers": {"Content-Type": "x/ZEBRA"}}),
    ("POST", "/submissions?strategy=ZEBRA", {"content": b"{}"}),
    ("POST", "/submissions?ZEBRA=ZEBRA", {"content": b"{}"}),
    ("POST", "/submissions?strategy=FIXED&models=ZEBRA", {"content": b'{"id": "1", "vignette": "ZEBRA"}'}),
    ("POST", "/submissions", {"content": b"\x1f\x8bZEBRA", "headers": {"Content-Encoding": "gzip"}}),
    ("POST", "/submissions", {"content": b"<ZEBRA/>", "headers": {"Content-Type": "text/csv"}}),
    ("GET", "/records/ZEBRA-id", {}),
    ("DELETE", "/records/ZEBRA-id", {}),
    ("GET", "/consultations/ZEBRA-id?ZEBRA=1", {}),
    ("GET", "/ZEBRA", {}),
    ("PATCH", "/submissions/ZEBRA", {"json": {"ZEBRA": "ZEBRA"}}),
    ("GET", "/submissions?after=ZEBRA", {"headers": {"Authorization": "Bearer cons_ZEBRA_ZEBRA"}}),
    ("GET", "/submissions", {"headers": {"Authorization": "ZEBRA"}}),
    ("POST", "/token", {"data": {"grant_type": "ZEBRA", "client_assertion": "ZEBRA"}}),
)
"""Requests that are refused: method, address, what is sent."""


def test_planted_text_is_found_nowhere(
    door: Door, receiver: Receiver, services: Services, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Bundles, bad records, refused requests, an id that comes twice; then one is erased."""
    add(door.ctx, receiver)
    body = "\n".join(json.dumps(bundle(k)) for k in range(size)).encode()
    own = [
        {"id": "ZEBRA-own", "vignette": "A man of seventy: ZEBRA-story.", "context": {"age": "ZEBRA-age"}},
        {"id": "ZEBRA-own", "vignette": "A man of seventy: ZEBRA-story.", "ZEBRA-field": "ZEBRA-value"},
        {"id": "ZEBRA-own-1", "vignette": "A man of seventy: ZEBRA-story."},
        {"id": "ZEBRA-own-1", "vignette": "A man of seventy: ZEBRA-again."},
    ]
    lines = "\n".join(map(json.dumps, own)).encode() + b'\n{"id": "ZEBRA-cut'
    told: dict[str, str] = {}
    with caplog.at_level(logging.DEBUG), door.client() as client:
        fhir = {"Content-Type": "application/fhir+ndjson", "Idempotency-Key": "ZEBRA-key"}
        done = client.post("/submissions", content=body, headers=fhir)
        assert done.status_code == 202, done.text
        assert done.json()["accepted"] == size, done.text
        answers = [done, client.post("/submissions", content=lines)]
        assert answers[-1].json()["set_aside"] == 4, answers[-1].text
        conflict = client.post("/submissions", content=lines, headers=fhir)
        assert conflict.status_code == 409
        records = [id_ for (id_,) in ask(door.ctx, "SELECT record_id FROM consultations ORDER BY id LIMIT 2")]
        answers += [conflict, client.delete(f"/records/{records[0]}"), client.get(f"/records/{records[1]}")]
        for method, path, sent in BAD:
            answers.append(client.request(method, path, **sent))
            assert 400 <= answers[-1].status_code < 500, (method, path, answers[-1].status_code)
        answers.append(client.get("/submissions"))
        _deliver(door)
    told |= {f"answer {k}": _shown(answer) for k, answer in enumerate(answers)}
    told |= {f"webhook {k}": repr(asked) for k, asked in enumerate(receiver.asked)}
    told |= {
        f"log {k} {record.name}": f"{record.getMessage()} {record.__dict__}"
        for k, record in enumerate(caplog.records)
        if not record.name.startswith(NOT_OURS)
    }
    told |= _in_redis(services) | _in_tables(door)
    assert [where for where, text in told.items() if PLANTED in text] == []
    assert not logging.getLogger("uvicorn.access").propagate
    assert len(receiver.asked) > 0
    assert len(told) > 40, "the search looked at something"
    # and it was all there to be found: each patient's story lies sealed
    with door.ctx.transaction() as session:
        ids = [id_ for (id_,) in ask(door.ctx, "SELECT id FROM clinical_documents")]
        opened_ = door.ctx.vault.open_all(session, ids)
    assert sum("ZEBRA-story" in text for text in opened_.values()) >= size - 1
    assert all(PLANTED in text for text in opened_.values())


@pytest.mark.parametrize("packed", ["identity", "gzip"])
def test_a_bug_is_logged_without_what_was_sent(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, packed: str
) -> None:
    """By its type and place, whatever its message quotes: 500, or a stream that breaks off."""

    class Aged(BaseModel):
        age: int

    def bug(*_: Any) -> None:
        Aged.model_validate({"age": "ZEBRA-age"})

    def broken(*_: Any, **__: Any) -> Iterator[list[dict[str, Any]]]:
        yield [{"id": str(uuid.uuid4())} for _ in range(10_000)]
        bug()

    monkeypatch.setattr(consultations, "load_case", bug)
    monkeypatch.setattr(outputs, "pages", broken)
    submission = accepted.submit(door.ctx)
    with caplog.at_level(logging.DEBUG), door.client() as client:
        client.headers["Accept-Encoding"] = packed
        answer = client.get(f"/consultations/{uuid.uuid4()}")
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"/submissions/{submission}/results")
    assert (answer.status_code, answer.json()["type"]) == (500, "bug")
    logged = [record for record in caplog.records if not record.name.startswith(NOT_OURS)]
    bugs = [record.getMessage().rpartition(":")[0] for record in logged if record.name == "consilium.api"]
    where = "a bug: ValidationError at producers.api."
    assert bugs == [f"{where}consultations", f"{where}outputs"]
    assert PLANTED not in answer.text + "".join(f"{r.getMessage()} {r.__dict__}" for r in logged)


@pytest.mark.parametrize("path", ["/v1/token", f"/v1/consultations/{uuid.UUID(int=0)}/outcome"])
def test_a_client_that_goes_away_is_no_bug(door: Door, caplog: pytest.LogCaptureFixture, path: str) -> None:
    """Nobody is there to be answered, and nothing is logged."""
    coming: list[Message] = [
        {"type": "http.request", "body": b"ZEBRA", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {door.key()}".encode())],
    }
    with caplog.at_level(logging.WARNING):
        asyncio.run(create_app(door.site)(scope, receive, send))
    assert (sent, coming) == ([], [])
    assert caplog.records == []


def _deliver(door: Door) -> None:
    """What is in the outbox goes to the webhook."""
    with door.ctx.transaction() as session:
        events.finish_submissions(session)
    with door.ctx.transaction() as session:
        events.deliver(session)
    sending = Webhooks(door.ctx.settings.require_database(), door.ctx.vault)
    try:
        for (webhook,) in ask(door.ctx, "SELECT id FROM destinations"):
            assert sending.send(webhook) > 0
    finally:
        sending.close()


def _shown(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.headers} {answer.text}"


def _in_redis(services: Services) -> dict[str, str]:
    with redis.Redis.from_url(services.addresses.broker_url) as broker:
        keys = list(broker.scan_iter(count=1000))
        return {f"redis {key!r}": repr(key) + (broker.dump(key) or b"").decode("latin-1") for key in keys}


def _in_tables(door: Door) -> dict[str, str]:
    """Every table as text, what is binary also as it is."""
    names = [name for (name,) in ask(door.ctx, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    found = {f"table {name}": repr(ask(door.ctx, f"SELECT t::text FROM {name} t")) for name in names}
    binary = ask(door.ctx, "SELECT ciphertext FROM clinical_documents")
    return found | {"ciphertext": repr([bytes(sealed) for (sealed,) in binary])}
