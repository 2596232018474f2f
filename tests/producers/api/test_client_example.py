"""The client examples, as they are handed out, against the real door."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
from celery import Celery

from db.queries import events
from tests import accepted
from tests.accepted import TRIO, ask, consultations_of
from tests.producers.api.conftest import Door
from tests.producers.concluded import conclude, graded
from tests.producers.fhir.r4 import valid
from tests.workers.chat_server import Server

EXAMPLES = Path(__file__).parents[3] / "examples"
ORDER = ("strategy=FIXED", f"models={','.join(TRIO)}", "purpose=evaluation")


@pytest.fixture
def client() -> ModuleType:
    """examples/client.py as a module."""
    spec = importlib.util.spec_from_file_location("client_example", EXAMPLES / "client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def work(door: Door, app: Celery, server: Server) -> None:
    """As workers do: all that was submitted ends with acetaminophen."""
    url = door.ctx.settings.require_database()
    ctx = replace(accepted.context(url, server.url), vault=door.ctx.vault)
    [(submission,)] = ask(ctx, "SELECT id FROM submissions")
    n = len(consultations_of(ctx, submission))
    graded(ctx, app, server, submission, [(("acetaminophen",),) * 3] * n)
    conclude(ctx, submission)
    with ctx.transaction() as session:
        events.finish_submissions(session, submission)


def bundle(patient: str, gender: str = "female") -> dict[str, Any]:
    """A patient with a painful knee."""
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [
            {"resource": {"resourceType": "Patient", "id": patient, "gender": gender, "birthDate": "1950"}},
            {
                "resource": {
                    "resourceType": "Condition",
                    "subject": {"reference": f"Patient/{patient}"},
                    "code": {"text": "Osteoarthritis of the knee"},
                }
            },
        ],
    }


def test_a_folder_of_bundles_goes_in_and_fhir_comes_out(
    door: Door,
    app: Celery,
    server: Server,
    client: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While the client sleeps, as it is told to, the workers work; the bad record is told, with exit code 6.

    As a process it is run again: the same submission, the same files, no second record.
    """
    folder, out = tmp_path / "bundles", tmp_path / "results"
    folder.mkdir()
    for patient, gender in (("p1", "female"), ("p2", "male"), ("p3", "ZEBRA")):
        (folder / f"{patient}.json").write_text(json.dumps(bundle(patient, gender), indent=1))
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        work(door, app, server)

    options = [word for option in ORDER for word in ("--option", option)]
    words = [str(folder), "--url", door.url, "--out", str(out), *options]
    monkeypatch.setenv("CONSILIUM_KEY", door.key())
    monkeypatch.setattr(sys, "argv", ["client.py", *words])
    monkeypatch.setattr(client.time, "sleep", nap)
    assert client.main() == 6
    told = capsys.readouterr()
    assert "2 of 3 records accepted" in told.out
    assert "0 of 2 ended" in told.out
    assert len(naps) == 1
    assert naps[0] >= 2
    assert "set_aside: Bundle.entry[0].resource.gender" in told.err
    assert "ZEBRA" not in told.out + told.err
    made = {path.stem: path.read_text().splitlines() for path in out.iterdir()}
    resources = valid(json.loads(line) for kind in ("MedicationRequest", "Provenance") for line in made[kind])
    subjects = {each["subject"]["reference"] for each in resources["MedicationRequest"]}
    assert subjects == {"Patient/p1", "Patient/p2"}
    assert len(made["Result"]) == 3
    assert len(made["OperationOutcome"]) == 1
    again = subprocess.run(
        [sys.executable, EXAMPLES / "client.py", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert again.returncode == 6, again.stderr
    assert "2 of 3 records accepted" in again.stdout
    assert {path.stem: path.read_text().splitlines() for path in out.iterdir()} == made
    assert ask(door.ctx, "SELECT count(*) FROM submissions") == [(1,)]


def test_what_will_not_become_better_ends_with_what_the_server_says(
    door: Door, client: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A body without a record is refused, and nothing is repeated."""
    (tmp_path / "bad.ndjson").write_text('{"id": "a"}\n')
    monkeypatch.setenv("CONSILIUM_KEY", door.key())
    monkeypatch.setattr(
        sys, "argv", ["client.py", str(tmp_path / "bad.ndjson"), "--url", door.url, "--out", str(tmp_path)]
    )
    monkeypatch.setattr(client.time, "sleep", lambda _: pytest.fail("it would be sent again"))
    with pytest.raises(SystemExit, match=r"(?s)HTTP 422: .*vignette"):
        client.main()


def test_fhir_is_recognised_in_a_file(door: Door, client: ModuleType, tmp_path: Path) -> None:
    """A resource a line, in a file named like any other NDJSON: both clients leave it to the content."""
    file = tmp_path / "night.ndjson"
    file.write_text(f"{json.dumps(bundle('p1'))}\n")
    body, type_ = client.prepared(file, tmp_path / "spool")
    assert f"*) type={type_} ;;" in (EXAMPLES / "client.sh").read_text()
    with door.client() as key_holder:
        sent = key_holder.post("/submissions", content=body.read_bytes(), headers={"Content-Type": type_})
    assert sent.json()["accepted"] == 1, sent.text


class Prefixed(BaseHTTPRequestHandler):
    """The API below /consilium, behind a proxy; whatever lies elsewhere is not there."""

    at = ""  # how it names its own addresses

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        told = {"submission": "s", "accepted": 1, "records": 1}
        self.answer(202 if self.path == "/consilium/v1/submissions" else 404, told)

    def do_GET(self) -> None:
        files = [{"type": "Result", "url": f"{self.at}/v1/submissions/s/output/Result"}]
        row = {"state": "completed", "line": 1, "reason": None}
        known: dict[str, object] = {
            "/consilium/v1/submissions/s": {"output": files, "error": []},
            "/consilium/v1/submissions/s/output/Result": row,
        }
        self.answer(200 if self.path in known else 404, known.get(self.path))

    def answer(self, status: int, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Location", f"{self.at}/v1/submissions/s")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def prefixed() -> Iterator[str]:
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Prefixed) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/consilium"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("at", ["https://elsewhere.invalid/consilium", "/consilium", ""])
@pytest.mark.parametrize("program", ["client.py", "client.sh"])
def test_below_a_prefix(
    prefixed: str, program: str, at: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However the server names its addresses, they are asked for where we were told that it is, and once."""
    if program == "client.sh" and not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("curl or jq is not here")
    monkeypatch.setattr(Prefixed, "at", at)
    file, out = tmp_path / "a.ndjson", tmp_path / "out"
    file.write_text("{}\n")
    script = str(EXAMPLES / program)
    command = {
        "client.py": [sys.executable, script, str(file), "--url", prefixed, "--out", str(out)],
        "client.sh": ["sh", script, str(file), str(out)],
    }[program]
    environment = {**os.environ, "CONSILIUM_KEY": "cons_x", "CONSILIUM_URL": prefixed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "Result.ndjson").read_text())["state"] == "completed"


def test_a_long_upload_that_breaks_is_sent_again(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The time without success counts from the first failure."""
    (tmp_path / "body").write_text("{}")
    now, answers = [1.0], iter([503, 200])

    def upload(_: httpx.Request) -> httpx.Response:
        now[0] += client.GIVE_UP_S * 2
        return httpx.Response(next(answers))

    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None))
    transport = httpx.MockTransport(upload)
    with httpx.Client(base_url="https://x.example", transport=transport) as http:
        assert client.ask(http, "POST", "/v1/submissions", tmp_path / "body").is_success


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not here")
def test_the_shell_example_does_the_same(door: Door, app: Celery, server: Server, tmp_path: Path) -> None:
    """Of a submission that has ended: repeated by its key, its files downloaded, exit code 6."""
    file = tmp_path / "vignettes.ndjson"
    lines = [
        {"id": "knee", "vignette": "A man of seventy has had a painful knee for a week."},
        {"id": "ZEBRA", "vignette": "short"},
    ]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    environment = {**os.environ, "CONSILIUM_KEY": door.key(), "CONSILIUM_URL": door.url}
    command = ["sh", str(EXAMPLES / "client.sh"), str(file), str(tmp_path / "out")]
    with door.client() as key_holder:
        key = hashlib.sha256(file.read_bytes()).hexdigest()
        sent = key_holder.post(
            "/submissions",
            content=file.read_bytes(),
            headers={"Content-Type": "application/x-ndjson", "Idempotency-Key": key},
        )
        assert sent.status_code == 202, sent.text
    work(door, app, server)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 6, done.stderr
    assert "1 of 2 accepted" in done.stdout
    assert "line 2: set_aside" in done.stderr
    assert "ZEBRA" not in done.stdout + done.stderr
    [request] = (tmp_path / "out" / "MedicationRequest.ndjson").read_text().splitlines()
    assert json.loads(request)["status"] == "draft"
    assert environment["CONSILIUM_KEY"] not in done.stdout + done.stderr
