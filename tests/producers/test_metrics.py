"""The server of /metrics and /healthz over real HTTP, on a real database and broker."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from embedded.services import Services
from producers.metrics import collector
from producers.metrics.server import Server
from shared.broker import QUEUES
from shared.errors import SettingsError
from shared.settings import Settings
from tests.accepted import TRIO, ask, claim, consultations_of, context, models_toml, one_owed, submit
from workers.context import Context

CLOSED = {
    "priority": {*collector.PRIORITIES},
    "stage": {*collector.STAGES, collector.OTHER},
    "held": {*collector.HELD, collector.OTHER},
    "reason": {*collector.REASONS, collector.OTHER},
    "outcome": {*collector.OUTCOMES, collector.OTHER},
    "error": {*collector.ERRORS, collector.OTHER},
    "queue": {*QUEUES},
    "scope": {*collector.SCOPES},
    "le": None,
}
Samples = dict[tuple[str, ...], float]


@pytest.fixture
def ctx(database_url: str) -> Context:
    """A site with nothing in it."""
    return context(database_url)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A loopback port that is taken and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def settings(ctx: Context, services: Services, tmp_path: Path) -> Settings:
    """Its settings with a broker and a models.toml."""
    (tmp_path / "models.toml").write_text(models_toml(), encoding="utf-8")
    told = {"broker_url": services.addresses.broker_url, "models_file": tmp_path / "models.toml"}
    return Settings(_env_file=None, database_url=ctx.settings.database_url, **told)


@contextmanager
def serving(settings: Settings, host: str = "127.0.0.1") -> Iterator[httpx.Client]:
    """The server in a thread; a client of it."""
    with Server(settings, host, 0) as server, httpx.Client(base_url=server.url) as client:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield client
        finally:
            server.shutdown()
            thread.join()


def scrape(client: httpx.Client) -> Samples:
    """Values by (name, label values in the order of the labels' names)."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_tell_what_is_stored(ctx: Context, settings: Settings, services: Services) -> None:
    """Work, calls, models, heartbeats, workers and queues come out under their names and labels."""
    submit(ctx, 2, priority="urgent", purpose="care")
    [failed, held] = consultations_of(ctx, submit(ctx, 2))
    ask(
        ctx,
        "UPDATE consultations SET state = 'failed', reason = 'expired', stage = 'ended', ended_at = now() "
        "WHERE id = %s",
        failed,
    )
    ask(ctx, "UPDATE consultations SET held = 'budget' WHERE id = %s", held)
    ask(
        ctx,
        "UPDATE consultations SET held = 'something new' WHERE id = (SELECT min(id::text)::uuid "
        "FROM consultations WHERE priority = 0)",
    )
    owed = [one_owed(ctx) for _ in range(4)]
    for id_ in owed:
        assert claim(ctx, id_)
    for id_, outcome, error in ((owed[0], "answered", None), (owed[1], "failed", "rate_limited")):
        ask(
            ctx,
            "UPDATE model_calls SET outcome = %s, error_kind = %s, cost_usd = 0.5, "
            "started_at = now() - interval '3 s', ended_at = now() WHERE owed_answer_id = %s",
            *(outcome, error, id_),
        )
    ask(ctx, "UPDATE model_versions SET name = 'sim-gone' WHERE name = %s", TRIO[1])
    ask(
        ctx,
        "UPDATE model_calls SET outcome = 'lost', ended_at = now(), model_version_id = "
        "(SELECT id FROM model_versions WHERE name = 'sim-gone') WHERE owed_answer_id = %s",
        owed[2],
    )
    ask(
        ctx,
        "INSERT INTO model_states (name, opened_at, probe_at, waits_until, learned_limit) VALUES "
        "(%s, now() - interval '1 h', now() + interval '1 h', now() + interval '1 h', 12.5)",
        TRIO[2],
    )
    ask(ctx, "INSERT INTO pauses (scope, name) VALUES ('model', %s), ('source', 'st-mary')", TRIO[0])
    ask(
        ctx,
        "INSERT INTO heartbeats (queue, sent_at, received_at) VALUES "
        "('remote', now() - interval '1 s', now() - interval '1 h'), ('local', now(), now())",
    )
    ask(
        ctx,
        "INSERT INTO workers (name, boot_id, pid, queues, seen_at) VALUES "
        "('a@x', gen_random_uuid(), 1, '{remote}', now()), "
        "('b@x', gen_random_uuid(), 1, '{remote}', now() - interval '1 h')",
    )
    with redis.Redis.from_url(services.addresses.broker_url) as broker, serving(settings) as client:
        broker.delete(*QUEUES)
        broker.rpush("local", "x", "y")
        told = scrape(client)
        broker.delete("local")
    expected: Samples = {
        ("consilium_up",): 1,
        ("consilium_broker_up",): 1,
        ("consilium_queue_depth_messages", "local"): 2,
        ("consilium_queue_depth_messages", "remote"): 0,
        ("consilium_open_consultations", "none", "waiting"): 5,
        ("consilium_open_consultations", "budget", "waiting"): 1,
        ("consilium_open_consultations", "other", "waiting"): 1,
        ("consilium_open_consultations", "none", "reviewing"): 0,
        ("consilium_oldest_waiting_seconds", "routine"): 0,
        ("consilium_stalled_consultations",): 0,
        ("consilium_dead_letters", "expired"): 1,
        ("consilium_dead_letters", "no_quorum"): 0,
        ("consilium_model_recent_calls", "none", TRIO[0], "answered"): 1,
        ("consilium_model_recent_calls", "rate_limited", TRIO[0], "failed"): 1,
        ("consilium_model_recent_calls", "none", "other", "lost"): 1,
        ("consilium_model_rate_limited_ratio", TRIO[0]): 0.5,
        ("consilium_model_rate_limited_ratio", TRIO[2]): 0,
        ("consilium_model_latency_seconds_bucket", "2", TRIO[0]): 0,
        ("consilium_model_latency_seconds_bucket", "5", TRIO[0]): 1,
        ("consilium_model_latency_seconds_bucket", "+Inf", TRIO[0]): 1,
        ("consilium_model_in_flight_calls", TRIO[0]): 1,
        ("consilium_spend_last_hour_usd", TRIO[0]): 1,
        ("consilium_unpriced_calls_last_hour", "other"): 1,
        ("consilium_model_breaker", TRIO[2], "open"): 1,
        ("consilium_model_breaker", TRIO[2], "closed"): 0,
        ("consilium_model_breaker", TRIO[0], "closed"): 1,
        ("consilium_model_limit_calls", TRIO[2]): 12.5,
        ("consilium_model_paused", TRIO[0]): 1,
        ("consilium_model_paused", TRIO[2]): 0,
        ("consilium_pauses", "source"): 1,
        ("consilium_heartbeat_stale", "remote"): 1,
        ("consilium_heartbeat_stale", "local"): 0,
        ("consilium_workers", "running"): 1,
        ("consilium_workers", "silent"): 1,
        ("consilium_undelivered_event_seconds",): 0,
        ("consilium_parked_messages",): 0,
    }
    assert {key: told.get(key) for key in expected} == expected
    assert told["consilium_oldest_waiting_seconds", "urgent"] > 0
    assert told["consilium_model_breaker_open_seconds", TRIO[2]] >= 3600
    assert 3500 < told["consilium_model_wait_seconds", TRIO[2]] <= 3600
    assert told["consilium_heartbeat_age_seconds", "remote"] >= 3600


def test_no_id_no_source_and_no_clinical_word(ctx: Context, settings: Settings) -> None:
    """Every label's value is of a closed list, and what was planted in texts, ids and names is nowhere."""
    ask(
        ctx,
        "INSERT INTO sources (id, name, policy) SELECT gen_random_uuid(), 'PLANTED-ward', policy "
        "FROM sources",
    )
    line = b'{"id": "PLANTED-id", "vignette": "A woman of forty has PLANTED disease and needs a drug."}'
    submit(ctx, [line], source="PLANTED-ward")
    ask(ctx, "INSERT INTO pauses (scope, name) VALUES ('source', 'PLANTED-ward')")
    ask(ctx, "INSERT INTO heartbeats (queue) VALUES ('PLANTED-queue')")
    ask(ctx, "INSERT INTO model_states (name) VALUES ('PLANTED-model')")
    with serving(settings) as client:
        told = client.get("/metrics").text
        looked = client.get("/healthz").text
    assert "PLANTED" not in told + looked
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", told + looked), "an id"
    closed = {**CLOSED, "model": {*ctx.registry, collector.OTHER}, "state": {"running", "silent"}}
    for family in text_string_to_metric_families(told):
        assert family.name.startswith("consilium_"), family.name
        assert family.documentation or family.name.endswith(("_gcount", "_gsum")), family.name
        for sample in family.samples:
            for label, value in sample.labels.items():
                values = closed[label]
                if sample.name == "consilium_model_breaker" and label == "state":
                    values = {*collector.BREAKERS}
                assert values is None or value in values, sample


def test_postgresql_and_broker_away(settings: Settings, closed_port: int) -> None:
    """/metrics still answers and says so; /healthz says 503 and which checks failed, and no more."""
    away = settings.model_copy(
        update={
            "database_url": Settings(
                _env_file=None, database_url=f"postgresql://u:SECRET@127.0.0.1:{closed_port}/x"
            ).database_url,
            "broker_url": Settings(
                _env_file=None, broker_url=f"redis://:SECRET@127.0.0.1:{closed_port}/0"
            ).broker_url,
        }
    )
    with serving(away) as client:
        assert scrape(client) == {("consilium_up",): 0, ("consilium_broker_up",): 0}
        looked = client.get("/healthz")
    assert looked.status_code == 503
    assert looked.json() == {"ok": False, "checks": {"postgresql": "failed", "broker": "failed"}}


def test_a_database_without_our_tables(settings: Settings, empty_database_url: str) -> None:
    """It is up for nobody: 0, and the migrations are what failed."""
    empty = Settings(_env_file=None, database_url=empty_database_url).database_url
    with serving(settings.model_copy(update={"database_url": empty})) as client:
        assert scrape(client)["consilium_up",] == 0
        assert client.get("/healthz").json()["checks"] == {
            "postgresql": "ok",
            "migrations": "failed",
            "broker": "ok",
        }


def test_healthz_is_200_when_work_flows(ctx: Context, settings: Settings) -> None:
    """With a fresh sweep and a worker that was seen all is well; nothing but names and words is told."""
    ask(ctx, "INSERT INTO heartbeats (queue) SELECT unnest(%s::text[])", list(QUEUES))
    ask(
        ctx,
        "INSERT INTO workers (name, boot_id, pid, queues) VALUES ('a@x', gen_random_uuid(), 1, %s)",
        list(QUEUES),
    )
    with serving(settings) as client:
        looked = client.get("/healthz")
    assert looked.status_code == 200
    assert looked.json()["ok"] is True
    assert set(looked.json()["checks"].values()) == {"ok"}
    assert {"sweep", "workers", "queue remote.urgent"} <= looked.json()["checks"].keys()


def test_a_token_is_asked_for(settings: Settings) -> None:
    """With a token /metrics wants exactly it, /healthz none; other paths and verbs are nothing."""
    token = Settings(_env_file=None, metrics_token="right").metrics_token
    with serving(settings.model_copy(update={"metrics_token": token})) as client:
        for given in (None, "right", "Bearer wrong", "Bearer righ", "bearer right", "Bearer r\xefght"):
            headers = [] if given is None else [(b"Authorization", given.encode("latin-1"))]
            refused = client.get("/metrics", headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer"), given
            assert "consilium_" not in refused.text
        assert client.get("/metrics", headers={"Authorization": "Bearer right"}).status_code == 200
        assert client.get("/healthz").status_code == 503
        assert client.get("/").status_code == 404
        assert client.post("/metrics").status_code == 501
        assert "python" not in client.get("/").headers["server"].lower()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.invalid"])
def test_elsewhere_only_with_a_token(settings: Settings, host: str) -> None:
    """Off the loopback it does not listen without a token, and says what to do."""
    with pytest.raises(SettingsError, match="CONSILIUM_METRICS_TOKEN"):
        Server(settings, host, 0)


def test_elsewhere_with_a_token(settings: Settings) -> None:
    """With one it does, and still asks for it; an empty one is none."""
    token = Settings(_env_file=None, metrics_token="right").metrics_token
    with Server(settings.model_copy(update={"metrics_token": token}), "0.0.0.0", 0) as server:
        assert server.url.startswith("http://0.0.0.0:")
    empty = Settings(_env_file=None, metrics_token="").metrics_token
    with pytest.raises(SettingsError, match="open to the network"):
        Server(settings.model_copy(update={"metrics_token": empty}), "0.0.0.0", 0)


def test_a_port_that_is_taken(settings: Settings) -> None:
    """One sentence with the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsError, match="cannot listen"):
        Server(settings, "127.0.0.1", taken.getsockname()[1])


def test_as_a_process(ctx: Context, settings: Settings, services: Services) -> None:
    """It says where it serves as soon as it does, and SIGTERM ends it with exit code 0."""
    environ = {
        **os.environ,
        "CONSILIUM_DATABASE_URL": ctx.settings.require_database(),
        "CONSILIUM_BROKER_URL": services.addresses.broker_url,
        "CONSILIUM_MODELS_FILE": str(settings.require_models_file()),
    }
    command = [sys.executable, "-m", "producers.metrics", "--port", "0"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = process.stdout.readline()
        found = re.fullmatch(r"metrics on (http://127\.0\.0\.1:\d+)\n", said)
        assert found, said
        with httpx.Client(base_url=found[1]) as client:
            assert scrape(client)["consilium_up",] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    refused = subprocess.run(
        [*command, "--host", "0.0.0.0"], env=environ, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("consilium: /metrics on 0.0.0.0 would be open")
