"""What came out, as streams: a line for each line, page by page, at any time."""

from __future__ import annotations

import gzip
import json
import uuid
from functools import partial

import httpx
import pytest
from celery import Celery

from db.engine import transaction
from producers import results
from producers.api.outputs import Result
from tests import accepted
from tests.producers.api.conftest import Door
from tests.producers.api.ended import BAD, concluded, end, knees
from tests.workers.chat_server import Server

PATHS = ["results", "errors", "fhir/MedicationRequest", "fhir/OperationOutcome"]


def _rows(answer: httpx.Response) -> list[dict[str, object]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_line_for_each_line_in_order(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several pages, whole and half ones: every record once, the good and the bad in their places."""
    monkeypatch.setattr(results, "PAGE", 2)
    lines = [BAD if k in (1, 4) else line for k, line in enumerate(knees(6))]
    submission = accepted.submit(door.ctx, lines)
    with door.client() as client:
        rows = _rows(client.get(f"/submissions/{submission}/results"))
        assert [(row["line"], row["id"], row["state"]) for row in rows] == [
            (k + 1, None, "set_aside") if k in (1, 4) else (k + 1, f"knee-{k}", "open") for k in range(6)
        ]
        errors = _rows(client.get(f"/submissions/{submission}/errors"))
        assert errors == [rows[1], rows[4]]
        assert all(
            (row["error_code"], row["error_path"]) == ("string_too_short", "vignette") for row in errors
        )
        assert "short" not in str(errors[0]["reason"]).split()


def test_what_was_concluded(door: Door, app: Celery, server: Server) -> None:
    """A result has the documented fields alone, as the command prints it; FHIR comes by type."""
    submission = concluded(door, app, server, [*knees(1), BAD])
    with door.client() as client:
        answer = client.get(f"/submissions/{submission}/results")
        assert answer.headers["content-type"] == "application/x-ndjson"
        rows = _rows(answer)
        manifest = client.get(f"/submissions/{submission}").json()
        files = {one["type"]: client.get(one["url"]) for one in manifest["output"] + manifest["error"]}
        assert client.get(f"/submissions/{submission}/fhir/Patient").status_code == 422
    opened = partial(transaction, door.ctx.settings.require_database())
    [printed] = results.pages(opened, door.ctx.vault, submission)
    assert rows == json.loads(json.dumps(printed, default=str))
    good, bad = (Result.model_validate(row) for row in rows)
    assert good.model_fields_set == Result.model_fields.keys() == rows[0].keys()
    assert (good.recommendation, good.right, good.seats, good.answered) == (["acetaminophen"], True, 3, 3)
    assert (bad.state, bad.error_path, bad.line) == ("set_aside", "vignette", 2)

    told = accepted.ask(
        door.ctx, "SELECT which FROM audit WHERE what = 'results.export' AND who LIKE 'key %%'"
    )
    assert {which for (which,) in told} == {
        f"{submission} {one}"
        for one in ("results", "errors", *(f for f in files if f not in ("Result", "Error")))
    }
    types = ("MedicationRequest", "DetectedIssue", "Provenance", "OperationOutcome")
    assert files.keys() == {*types, "Result", "Error"}
    for type_ in types:
        assert files[type_].headers["content-type"] == "application/fhir+ndjson"
        assert {row["resourceType"] for row in _rows(files[type_])} == {type_}


def test_so_far_is_said(door: Door) -> None:
    """While not all has ended the answer says so; afterwards it does not."""
    submission = accepted.submit(door.ctx, 2)
    first, second = accepted.consultations_of(door.ctx, submission)
    end(door.ctx, first)
    with door.client() as client:
        assert client.get(f"/submissions/{submission}/results").headers["x-progress"] == "1 of 2 ended"
        end(door.ctx, second)
        assert "x-progress" not in client.get(f"/submissions/{submission}/results").headers


def test_what_was_erased_keeps_its_line(door: Door) -> None:
    """A record that was erased on request has its line, without its id, and when."""
    submission = accepted.submit(door.ctx, knees(2))
    with door.client() as client:
        path = f"/submissions/{submission}/results"
        client.delete(f"/records/{_rows(client.get(path))[0]['record']}").raise_for_status()
        gone, kept = (Result.model_validate(row) for row in _rows(client.get(path)))
    assert (gone.id, gone.state, gone.erased_at is None) == (None, "cancelled", False)
    assert (kept.id, kept.state, kept.erased_at) == ("knee-1", "open", None)


def test_packed_where_it_is_asked_for(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """gzip in pages that leave one by one; not where it is not accepted."""
    monkeypatch.setattr(results, "PAGE", 10)
    submission = accepted.submit(door.ctx, 40)
    path = f"/submissions/{submission}/results"
    with door.client() as client:
        plain = client.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as packed:
            assert packed.headers["content-encoding"] == "gzip"
            parts = list(packed.iter_raw())
    assert gzip.decompress(b"".join(parts)) == plain.content
    assert sum(map(len, parts)) < len(plain.content) / 4


@pytest.mark.parametrize("path", PATHS)
def test_anothers_is_not_there(door: Door, path: str) -> None:
    """Another source's id is a 404 before the first byte."""
    submission = accepted.submit(door.ctx, [BAD, *knees(1)])
    with door.client("other") as other:
        for id_ in (submission, uuid.uuid4()):
            assert other.get(f"/submissions/{id_}/{path}").status_code == 404
