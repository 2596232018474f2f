"""Submissions over HTTP: every format, stored before it is acknowledged, once under a key."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from producers import batch, intake
from producers.api import body as request_body
from tests.accepted import ask
from tests.producers.api.conftest import Door

NDJSON = {"Content-Type": "application/x-ndjson"}
CHUNK = 10
TABLES = ("submissions", "records", "consultations", "clinical_documents", "data_keys", "owed_answers")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few records make several chunks."""
    monkeypatch.setattr(intake, "CHUNK", CHUNK)
    monkeypatch.setattr(batch, "CHUNK", CHUNK)


def line(own_id: str, **more: Any) -> bytes:
    """A good record."""
    text = f"A man of seventy has had chest pain on exertion: {own_id}."
    return json.dumps({"id": own_id, "vignette": text, **more}).encode() + b"\n"


def lines(n: int, start: int = 0) -> bytes:
    """So many good records."""
    return b"".join(line(f"case-{k}") for k in range(start, start + n))


def rows(door: Door) -> dict[str, int]:
    """Of every table that a submission writes to."""
    return {table: ask(door.ctx, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def await_state(door: Door, state: str) -> None:
    """The server comes to it."""
    while ask(door.ctx, "SELECT state FROM submissions") != [(state,)]:
        time.sleep(0.02)


PATIENT = {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "1950-01-01"}
CONDITION = {
    "resourceType": "Condition",
    "subject": {"reference": "Patient/p"},
    "code": {"text": "Atrial fibrillation"},
    "recordedDate": "2024-01-01",
}
BUNDLE = {
    "resourceType": "Bundle",
    "type": "collection",
    "entry": [{"resource": PATIENT}, {"resource": CONDITION}],
}
CSV = b"id,vignette\ncase-1,A man of seventy has had chest pain on exertion.\n"
FORMATS = [
    ("application/x-ndjson", lines(2), 2),
    ("text/plain", lines(2), 2),
    ("application/json", b"[" + lines(2).strip().replace(b"\n", b",") + b"]", 2),
    ("application/json; charset=UTF-8", line("case-1"), 1),
    ("text/csv", CSV, 1),
    ("application/fhir+json", json.dumps(BUNDLE).encode(), 1),
    ("application/json", json.dumps(BUNDLE, indent=1).encode(), 1),
    ("application/fhir+ndjson", json.dumps(PATIENT).encode() + b"\n" + json.dumps(CONDITION).encode(), 1),
]


def test_every_format_is_stored_before_it_is_acknowledged(door: Door) -> None:
    """Plain and gzip, with a content coding and without; packed otherwise it is the same body."""
    with door.client() as client:
        for number, (kind, body, count) in enumerate(FORMATS):
            where, to = f"{number}-", "/submissions?purpose=training"
            own = body.replace(b"case-", b"case-" + where.encode())
            headers = {"Content-Type": kind, "Idempotency-Key": where}
            answer = client.post(to, content=own, headers=headers)
            assert answer.status_code == 202, (kind, answer.text)
            told = answer.json()
            assert answer.headers["content-location"] == f"{door.url}/v1/submissions/{told['submission']}"
            counts = (told["records"], told["accepted"], told["set_aside"], told["errors"])
            assert counts == (count, count, 0, [])
            before = rows(door)
            packed = gzip.compress(own)
            coded = client.post(to, content=packed, headers=headers | {"Content-Encoding": "gzip"})
            alone = client.post(to, content=packed, headers=headers)
            assert coded.json() == alone.json() == told | {"repeated": True}
            assert rows(door) == before
    assert ask(door.ctx, "SELECT DISTINCT state FROM submissions") == [("open",)]
    assert len(ask(door.ctx, "SELECT FROM audit WHERE what = 'submit' AND starts_with(who, 'key ')")) == len(
        FORMATS
    )


def test_where_to_ask_is_told_as_clients_know_it(door: Door) -> None:
    """Behind a proxy that has a name and a path of its own."""
    door.ctx.settings.api_public_url = "https://door.example/consilium/"
    with door.client() as client:
        answer = client.post("/submissions", content=lines(1), headers=NDJSON)
    there = f"https://door.example/consilium/v1/submissions/{answer.json()['submission']}"
    assert answer.headers["content-location"] == there


def test_what_is_asked_for_is_done(door: Door) -> None:
    """Options of the query; what is not known, or does not go together, is refused and nothing stored."""
    asked = {"strategy": "FIXED", "models": "sim-alder-large,sim-birch-large", "priority": "urgent",
             "purpose": "training", "budget_usd": "1.5", "seed": "7", "dial_severity": "2"}  # fmt: skip
    with door.client() as client:
        answer = client.post("/submissions", params=asked, content=lines(1), headers=NDJSON)
        assert answer.status_code == 202, answer.text
        stored = ask(
            door.ctx,
            "SELECT strategy, n, models, priority, purpose, budget_usd::float, seed, dials ->> 'severity' "
            "FROM submissions",
        )
        pair = ["sim-alder-large", "sim-birch-large"]
        assert stored == [("FIXED", 2, pair, "background", "training", 1.5, 7, "2.0")]
        before = rows(door)
        for wrong in (
            {"models": "sim-alder-large"},
            {"strategy": "FIXED"},
            {"strategy": "FIXED", "models": "nobody,else"},
            {"strategie": "RANDOM"},
            {"n": "1"},
            {"budget_usd": "NaN"},
            {"dial_severity": "inf"},
            {"mapping": "[fields]"},
        ):
            answer = client.post("/submissions", params=wrong, content=lines(1), headers=NDJSON)
            assert (answer.status_code, rows(door)) == (422, before), (wrong, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"


def test_a_mapping_says_what_the_columns_are(door: Door) -> None:
    """The mapping file itself, as a parameter; its encoding too."""
    mapping = 'encoding = "cp1252"\n[fields]\nid = "Fall"\nvignette = "Befund"\n'
    body = "Fall;Befund\n1;Ein Mann von siebzig Jahren klagt über Schmerzen.\n".encode("cp1252")
    headers = {"Content-Type": "text/csv; charset=windows-1252"}
    with door.client() as client:
        assert client.post("/submissions", content=body, headers=headers).status_code == 415
        answer = client.post("/submissions", content=body, headers=headers, params={"mapping": mapping})
        assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
        wrong = {"mapping": mapping.replace("Befund", "Text")}
        assert client.post("/submissions", content=body, headers=headers, params=wrong).status_code == 400


def test_a_bad_record_is_set_aside_and_the_rest_goes_on(door: Door) -> None:
    """With its place, line, field and reason; strictly, nothing is stored."""
    body = line("a") + b"\n{\n" + line("b", context={"age": 700}) + line("a") + line("c")
    with door.client() as client:
        refused = client.post("/submissions", content=body, headers=NDJSON, params={"strict": "true"})
        assert (refused.status_code, refused.json()["type"]) == (422, "strict-batch")
        assert rows(door)["submissions"] == 0
        told = client.post("/submissions", content=body, headers=NDJSON).json()
    assert (told["records"], told["accepted"], told["set_aside"]) == (5, 2, 3)
    assert [(e["record"], e["line"], e["code"], e["path"]) for e in told["errors"]] == [
        (1, 3, "not_json", ""),
        (2, 4, "less_than_equal", "context.age"),
        (3, 5, "duplicate_id", "id"),
    ]
    assert refused.json()["errors"] == told["errors"]


def test_another_body_or_other_options_under_the_same_key(door: Door) -> None:
    """A conflict that names the line, or what was asked otherwise; nothing is stored."""
    keyed = NDJSON | {"Idempotency-Key": "monday"}
    with door.client() as client, door.client("ward") as other:
        assert client.post("/submissions", content=lines(11), headers=keyed).status_code == 202
        before = rows(door)
        for body, said in (
            (lines(10) + line("x"), "line 11"),
            (lines(12), "line 11"),
            (lines(9), "line 1 "),
        ):
            answer = client.post("/submissions", content=body, headers=keyed)
            assert (answer.status_code, answer.json()["type"]) == (409, "idempotency-conflict")
            assert said in answer.json()["detail"]
        for name, value in (("priority", "urgent"), ("families", "same")):
            answer = client.post(f"/submissions?{name}={value}", content=lines(11), headers=keyed)
            assert (answer.status_code, name in answer.json()["detail"]) == (409, True)
        assert rows(door) == before
        assert other.post("/submissions", content=lines(1), headers=keyed).status_code == 202


def test_two_at_once_with_the_same_key_are_one(door: Door) -> None:
    """Whoever comes second waits for the first, chunk by chunk: one set of rows, one answer."""
    body, answers = lines(45), list[httpx.Response]()

    def send() -> None:
        with door.client() as client:
            headers = NDJSON | {"Idempotency-Key": "twice"}
            answers.append(client.post("/submissions?purpose=training", content=body, headers=headers))

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.status_code for each in answers] == [202, 202]
    assert len({each.json()["submission"] for each in answers}) == 1
    found = rows(door)
    assert (found["submissions"], found["records"], found["consultations"]) == (1, 45, 45)


@pytest.mark.parametrize("keyed", [True, False])
def test_a_lost_connection_and_the_same_again(door: Door, keyed: bool) -> None:
    """Nothing has begun; with a key it goes on from the last chunk, without one all is erased."""
    headers = NDJSON | ({"Idempotency-Key": "lost"} if keyed else {})

    body = b"".join(line(f"case-{k}", context={"conditions": ["pain" * 70] * 30}) for k in range(30))

    def half() -> Iterator[bytes]:
        yield body
        await_state(door, "receiving")
        raise ConnectionAbortedError

    with door.client() as client:
        with pytest.raises(ConnectionAbortedError):
            client.post("/submissions", content=half(), headers=headers)
        if not keyed:
            await_state(door, "cancelled")
            assert rows(door)["data_keys"] == 0
        answer = client.post("/submissions", content=body, headers=headers)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["repeated"]) == (202, 30, False)
    assert rows(door)["submissions"] == (1 if keyed else 2)
    live = ask(door.ctx, "SELECT count(*) FROM consultations WHERE state = 'open'")
    assert live == [(30,)]


def test_a_client_that_falls_silent_is_told_how_to_go_on(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 once it has sent nothing for a while; the same again under its key goes on from the last chunk."""
    monkeypatch.setattr(request_body, "IDLE_S", 0.2)
    whole, where = lines(25), urlsplit(door.url)
    headers = NDJSON | {
        "Host": where.netloc,
        "Authorization": f"Bearer {door.key()}",
        "Idempotency-Key": "silent",
        "Content-Length": str(len(whole)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(f"POST /v1/submissions HTTP/1.1\r\n{head}\r\n".encode() + lines(15))
        told = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b'"incomplete"' in told
    assert b"under the same Idempotency-Key" in told
    with door.client() as client:
        answer = client.post("/submissions", content=whole, headers=NDJSON | {"Idempotency-Key": "silent"})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 25)
    assert rows(door)["submissions"] == 1


@pytest.mark.parametrize("own", [True, False])
def test_more_than_may_be_sent_is_refused_whole(door: Door, own: bool) -> None:
    """Records, and bytes packed or not, by the source's limits or the site's; what was stored is erased."""
    keyed = NDJSON | {"Idempotency-Key": "long"}
    with door.client() as client:
        if own:
            ask(door.ctx, "UPDATE sources SET max_records = 20, max_bytes = 9000")
        else:
            door.ctx.settings.api_max_records, door.ctx.settings.api_max_bytes = 20, 9_000
        padded = iter([gzip.compress(lines(1)), bytes(9_000)])  # without a Content-Length
        for body in (lines(21), gzip.compress(lines(19) + b" " * 9_000), b" " * 9_001, padded):
            answer = client.post("/submissions", content=body, headers=keyed)
            assert (answer.status_code, answer.json()["type"]) == (413, "too-long"), answer.text
        assert ask(door.ctx, "SELECT DISTINCT state FROM submissions") == [("cancelled",)]
        assert rows(door)["data_keys"] == 0
        assert client.post("/submissions", content=lines(20), headers=keyed).status_code == 202
