"""The services of docker-compose.yml, each run by its own command with its own secrets until it is well."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
import redis

from tests.deploy.composed import ROOT, House
from tests.deploy.conftest import WATCHER

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]  # a dozen processes begin

WORKERS = ("remote", "local", "urgent", "conclude", "quarantine")
OURS = (*WORKERS, "beat", "metrics", "flower", "api", "delivery")
VIGNETTES = (ROOT / "examples" / "vignettes.ndjson").read_text(encoding="utf-8").splitlines(keepends=True)


def _valkey(house: House, user: str) -> redis.Redis:
    port = int(house.rename["valkey:6379"].split(":")[1])
    password = WATCHER if user == WATCHER else (house.secrets / f"valkey_{user}").read_text().strip()
    return redis.Redis(port=port, username=user, password=password, protocol=2)


@pytest.fixture(scope="module")
def up(house: House) -> Iterator[House]:
    """`docker compose up --wait`: the servers, the migration, then all the rest, each until it is healthy."""
    with (house.folder("valkey") / "secrets" / "valkey.acl").open("a") as acl:
        acl.write(f"user {WATCHER} on >{WATCHER} +acl +ping\n")
    host, port = house.rename["valkey:6379"].split(":")
    house.start("valkey", more=["--bind", host, "--port", port])
    with _valkey(house, "health") as health:
        while True:
            try:
                assert health.ping()
                break
            except redis.ConnectionError:
                assert not house.ended("valkey"), house.log("valkey")
    assert house.run("migrate") == 0, house.log("migrate")
    for service in OURS:
        house.start(service)
    with ThreadPoolExecutor(2) as asking:
        list(asking.map(house.await_healthy, OURS))
    return house


def _submit(house: House, name: str, lines: list[str]) -> None:
    """Submit to the end, as a person does: `docker compose run --rm -T cli submit - --wait`."""
    records = [json.dumps({**json.loads(line), "id": f"{name}-{k}"}) for k, line in enumerate(lines)]
    code = house.run("cli", name, more=["submit", "-", "--wait"], stdin="\n".join(records))
    assert code == 0, house.log("cli", name)


def _counts(house: House) -> dict[str, int]:
    url = (house.folder("cli") / "secrets" / "consilium_database_url").read_text().strip()
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT state, count(*) FROM consultations GROUP BY state").fetchall())


def test_work_goes_through_and_a_worker_is_scaled_under_load(up: House) -> None:
    """Vignettes submitted by the command line's service end; while a worker is scaled from 1 to 3 and back to
    1 (the first goes too) all that was accepted ends, and nobody's health check fails."""
    _submit(up, "few", VIGNETTES[:4])
    assert sum(_counts(up).values()) == 4
    with ThreadPoolExecutor(1) as beside:
        load = beside.submit(_submit, up, "many", VIGNETTES)
        for replica in ("remote-2", "remote-3"):
            up.start("remote", replica)
        for replica in ("remote-2", "remote-3"):
            up.await_healthy("remote", replica)
        assert [up.stop(name) for name in ("remote-2", "remote")] == [0, 0]
        load.result()
    assert set(_counts(up)) <= {"completed", "needs_review"}, "none failed, none is open"
    assert sum(_counts(up).values()) == 4 + len(VIGNETTES)
    assert up.healthy("remote", "remote-3")
    assert all(up.healthy(service) for service in ("local", "conclude", "metrics", "beat"))


def test_the_api_takes_work_in(up: House) -> None:
    """With a key from the command line's service, through the published port; requests are counted."""
    assert up.run("cli", "key", more=["sources", "keys", "add", "local"]) == 0, up.log("cli", "key")
    token = re.search(r"cons_\S+", up.log("cli", "key"))
    assert token
    at = f"http://127.0.0.1:{up.port('api')}/v1"
    with httpx.Client(base_url=at, headers={"Authorization": f"Bearer {token[0]}"}, timeout=60) as client:
        line = json.dumps({**json.loads(VIGNETTES[0]), "id": "by-http"})
        sent = client.post("/submissions", content=line, headers={"Content-Type": "application/x-ndjson"})
        assert sent.status_code == 202, sent.text
        status = f"/submissions/{sent.json()['submission']}"
        while (found := client.get(status)).status_code == 202:  # pytest's limit ends this
            assert int(found.headers["retry-after"]) > 0
            time.sleep(1)  # less than it asks for: nobody else waits here
        assert found.status_code == 200, found.text
    assert "not counted" not in up.log("api")


def test_who_takes_work_in_owns_nothing(up: House) -> None:
    """The API's login sees no source's rows until it takes on a role; the workers' changes no policy."""
    for service, statement in (
        ("api", "SELECT * FROM submissions"),
        ("api", "UPDATE sources SET policy = '{}'"),
        ("api", "SET ROLE consilium_work"),
        ("remote", "UPDATE sources SET policy = '{}'"),
        ("remote", "CREATE TABLE mine (id int)"),
    ):
        url = (up.folder(service) / "secrets" / "consilium_database_url").read_text().strip()
        with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_flower_looks_and_cannot_act(up: House) -> None:
    """Without a password nothing is shown; with one, workers and tasks are, and no route changes anything."""
    at = f"http://127.0.0.1:{up.port('flower')}"
    user, password = (up.secrets / "flower_auth").read_text().strip().split(":")
    with httpx.Client(base_url=at, timeout=30) as nobody:
        told = [nobody.get(path).status_code for path in ("/", "/api/workers", "/api/tasks", "/broker")]
        assert told == [401] * 4
        assert nobody.get("/metrics").status_code == 404
    with httpx.Client(base_url=at, auth=(user, password), timeout=30) as operator:
        seen = operator.get("/api/workers?refresh=1").json()
        assert {name.split("@")[0] for name in seen} >= set(WORKERS) - {"remote"}
        assert operator.get("/metrics").status_code == 404
        name = next(iter(seen))
        for route in (
            *(f"/api/worker/{what}/{name}" for what in ("shutdown", "pool/restart", "pool/grow")),
            *(f"/api/worker/queue/{what}/{name}?queue=x" for what in ("add-consumer", "cancel-consumer")),
            *(f"/api/task/{what}/consilium.dispatch" for what in ("apply", "async-apply", "send-task")),
            *(f"/api/task/{what}/x" for what in ("abort", "timeout", "rate-limit", "revoke")),
        ):
            assert operator.post(route, json={"args": []}).status_code == 403, route


def test_metrics_want_their_token(up: House) -> None:
    """/healthz tells that the site is well; /metrics wants the token that lies in its file."""
    at = f"http://127.0.0.1:{up.port('metrics')}"
    token = (up.secrets / "metrics_token").read_text().strip()
    assert httpx.get(f"{at}/metrics").status_code == 401
    told = httpx.get(f"{at}/metrics", headers={"Authorization": f"Bearer {token}"})
    assert "consilium_up 1.0" in told.text


def test_valkey_denied_nothing_that_was_needed(up: House) -> None:
    """After all of the above, the log of denied commands names no user of the deployment."""
    with _valkey(up, WATCHER) as watcher:
        denied = {(entry["username"], entry["object"]) for entry in watcher.acl_log()}
    assert {(user, what) for user, what in denied if user not in (WATCHER, "health")} == set()


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("worker", ("FLUSHALL",)),
        ("worker", ("CONFIG", "GET", "*")),
        ("worker", ("KEYS", "*")),
        ("sender", ("LRANGE", "conclude", "0", "-1")),
        ("sender", ("GET", "unacked")),
        ("sender", ("EVAL", "return 1", "0")),
        ("flower", ("LPUSH", "conclude", "x")),
        ("flower", ("DEL", "conclude")),
        ("flower", ("HGETALL", "unacked")),
        ("api", ("LRANGE", "conclude", "0", "-1")),
        ("api", ("SET", "unacked", "x")),
        ("api", ("GET", "consilium:api:requests:x")),
        ("metrics", ("LPUSH", "conclude", "x")),
        ("metrics", ("LRANGE", "conclude", "0", "-1")),
        ("health", ("LLEN", "conclude")),
    ],
)
def test_valkey_refuses_what_a_user_does_not_need(up: House, user: str, words: tuple[str, ...]) -> None:
    """Each user of Valkey may do what its process does, and no more."""
    with _valkey(up, user) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*words)


def test_nobody_enters_valkey_without_a_password(up: House) -> None:
    """The default user is off."""
    port = int(up.rename["valkey:6379"].split(":")[1])
    with redis.Redis(port=port, protocol=2) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()
