"""PostgreSQL and Redis over TLS, each by every client that we have; a wrong authority is refused by each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from flower.utils.broker import Broker
from kombu import pools
from kombu.exceptions import OperationalError
from pydantic import SecretStr
from sqlalchemy import text

from db import migrate
from db.engine import engine_for, transaction
from producers import health, nudge
from producers.brokers import Unreachable, asked_redis, depths
from producers.cli import common
from producers.cli.stack import DOORS, Stack
from producers.doctor import services
from shared.broker import NUDGE_QUEUE
from shared.sealing import new_site_key
from shared.settings import Settings, get_settings
from tests.brokers.authority import Authority
from tests.brokers.servers import postgres_with_tls, redis_with_tls
from tests.homes import home_of
from tests.pipeline.conftest import SHORT, Pipeline, vignettes
from workers.config import celery_config
from workers.limits import connect

pytestmark = pytest.mark.timeout(300)
NOBODY = "redis://127.0.0.1:9/0"


@pytest.fixture(scope="module")
def postgres(folder: Path, ours: Authority) -> Iterator[str]:
    """A PostgreSQL that takes nobody in without TLS."""
    with postgres_with_tls(folder / "postgres", ours) as url:
        yield url
        for authority in (ours.ca, "/"):
            engine_for(verified(url, authority)).dispose()


@pytest.fixture(scope="module")
def server(folder: Path, ours: Authority) -> Iterator[str]:
    """A Redis that speaks TLS only."""
    with redis_with_tls(folder / "redis", ours) as url:
        yield url


def verified(url: str, ca: Path | str) -> str:
    """PostgreSQL's address with the authority that is trusted."""
    return f"{url}?sslmode=verify-full&sslrootcert={ca}"


def settings(broker: str, ca: Path) -> Settings:
    return Settings(_env_file=None, broker_url=f"{broker}?ssl_ca_certs={ca}")


IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the database's address for the commands."""

    def point(url: str) -> None:
        monkeypatch.setenv("CONSILIUM_DATABASE_URL", url)
        get_settings.cache_clear()

    yield point
    get_settings.cache_clear()


def test_postgresql_over_tls(postgres: str, ours: Authority, environment: Callable[[str], None]) -> None:
    """The pooled engine, the migrations and a connection that listens: all encrypted."""
    url = verified(postgres, ours.ca)
    environment(url)
    migrate.upgrade(url)
    with transaction(url) as session:
        assert session.execute(text(IS_ENCRYPTED)).scalar() is True
    with common.listening("anything") as connection:
        assert connection.execute(IS_ENCRYPTED).fetchone() == (True,)


def test_a_wrong_postgresql_is_refused_with_its_reason(
    postgres: str, another: Authority, environment: Callable[[str], None]
) -> None:
    """By the engine, by listeners and in `health`: what is told names TLS, never the address."""
    url = verified(postgres, another.ca)
    environment(url)
    refused = "TLS: SSL error: certificate verify failed"
    with pytest.raises(common.Away, match=refused), common.database() as session:
        session.execute(text(IS_ENCRYPTED))
    with pytest.raises(common.Away, match=refused), common.listening("anything"):
        pass
    [database, *_] = health.flows(Settings(_env_file=None, database_url=url, broker_url=NOBODY))
    assert "TLS: SSL error: certificate verify failed" in database.told
    assert "throw-away" not in database.told
    engine_for(url).dispose()


def _nudges(at: Settings) -> None:
    pools.reset()  # kombu's pools do not tell two authorities apart, and a process has one
    if not nudge.nudge(at):
        raise OperationalError("not sent")


def _queue_depths(at: Settings) -> None:
    assert depths(at)[NUDGE_QUEUE] >= 0


def _counts_chords(at: Settings) -> None:
    app = Celery(set_as_current=False)
    app.conf.update(celery_config(at, 900))
    app.backend.client.ping()


def _limits(at: Settings) -> None:
    with connect(at.require_redis()) as client:
        client.ping()


def _looks(at: Settings) -> None:
    with asked_redis(at.require_redis()) as client:
        client.ping()


def _flower(at: Settings) -> None:
    conf = celery_config(at, 900)
    broker = Broker(conf["broker_url"], broker_use_ssl=conf["broker_use_ssl"])
    assert [queue["name"] for queue in asyncio.run(broker.queues([NUDGE_QUEUE]))] == [NUDGE_QUEUE]


CLIENTS = [_nudges, _queue_depths, _counts_chords, _limits, _looks, _flower]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__.strip("_"))
def test_redis_over_tls(
    client: Callable[[Settings], None], server: str, ours: Authority, another: Authority
) -> None:
    """Each client gets in with the right authority, and neither with another nor under another name."""
    client(settings(server, ours.ca))
    for wrong in (
        settings(server, another.ca),
        settings(server.replace("127.0.0.1", "localhost"), ours.ca),
    ):
        with pytest.raises((OperationalError, redis.ConnectionError, Unreachable)):
            client(wrong)


def test_a_wrong_redis_is_told_of_by_health_and_doctor(server: str, another: Authority) -> None:
    """With the reason, and not as a server that is away."""
    wrong = settings(server, another.ca)
    wrong.database_url = SecretStr("postgresql://127.0.0.1:9/none")
    for told in (health.flows(wrong)[-1], services.broker(wrong)[0]):
        assert (told.name, told.level) == ("broker", "problem")
        assert "(TLS: its certificate is refused: " in told.told


@pytest.mark.slow
def test_a_consultation_over_tls(postgres: str, server: str, ours: Authority) -> None:
    """The whole set of processes, every connection to both servers encrypted."""
    given = {
        **SHORT,
        "database_url": verified(postgres, ours.ca),
        "broker_url": f"{server}?ssl_ca_certs={ours.ca}",
        "site_key": new_site_key(),
    }
    panel = ("--faults", "off", "--delay", "0", "--seed", "5")
    idle = DOORS | {"quarantine"}
    with (
        home_of("consilium-tls-") as home,
        Stack(home, given, workers=1, time_scale=0.02, panel_options=panel, without=idle) as stack,
    ):
        sender = Celery(set_as_current=False)
        sender.conf.update(celery_config(stack.settings, 900))
        pipeline = Pipeline(stack, sender)
        submission = pipeline.submit(vignettes(1))
        counts = pipeline.wait(submission)
        assert counts["completed"] + counts["needs_review"] == 1
        [(secure, all_)] = pipeline.ask(
            "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl "
            "JOIN pg_stat_activity USING (pid) WHERE usename = 'consilium'"
        )
        assert secure == all_ > 3
