"""RabbitMQ as the broker, by one setting: quorum queues, and every promise that holds on Redis.

The set of processes runs without beat, so that no sweep mends what a message should have done.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest
from celery import Celery
from kombu import Connection

from producers import nudge
from producers.brokers import Unreachable, broker_of, depths
from producers.cli.stack import DOORS, Stack
from producers.doctor import services
from shared.broker import HEARTBEAT, MESSAGE_VERSION, QUEUES, SWEEP, countdown_s, looking, queue_of
from shared.settings import Settings
from tests.accepted import context
from tests.brokers.authority import Authority
from tests.brokers.servers import rabbitmq
from tests.homes import home_of
from tests.pipeline.conftest import SHORT, Pipeline, vignettes
from workers.config import celery_config
from workers.watchdog import Watchdog

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def server(folder: Path, ours: Authority) -> Iterator[tuple[str, str]]:
    """One node: its address without and with TLS."""
    with rabbitmq(folder / "rabbitmq", ours) as urls:
        yield urls


@pytest.fixture(scope="module")
def stack(server: tuple[str, str]) -> Iterator[Stack]:
    """The set of processes on RabbitMQ; Redis beside it and PostgreSQL are the embedded ones."""
    panel = ("--faults", "off", "--delay", "0", "--seed", "5")
    given = {**SHORT, "model_slots": 8, "broker_url": server[0]}
    without = {"beat", *DOORS}
    with (
        home_of("consilium-rabbitmq-") as home,
        Stack(home, given, workers=1, time_scale=0.02, panel_options=panel, without=without) as running,
    ):
        running.wait_ready(timeout_s=120)
        yield running


@pytest.fixture
def settings(stack: Stack) -> Settings:
    """The settings of its processes."""
    at = stack.addresses
    return stack.settings.model_copy(
        update=Settings(
            _env_file=None, database_url=at.database_url, broker_url=at.broker_url, redis_url=at.redis_url
        ).model_dump(include={"database_url", "broker_url", "redis_url"})
    )


@pytest.fixture
def app(settings: Settings) -> Celery:
    """An application with the workers' configuration."""
    made = Celery(set_as_current=False)
    made.conf.update(celery_config(settings, 900))
    return made


@pytest.fixture
def pipeline(stack: Stack, app: Celery) -> Pipeline:
    """The running set, its panel instant and its ledger empty."""
    made = Pipeline(stack, app)
    made.panel("/control/delay", {"seconds": 0})
    made.panel("/ledger/reset", {})
    return made


def until(condition: Callable[[], bool]) -> None:
    """Look again and again; pytest's timeout bounds it."""
    while not condition():
        time.sleep(0.05)


def ended_once(pipeline: Pipeline, submission: uuid.UUID, count: int) -> None:
    """So many consultations, each with one conclusion, three answers, six reviews and one event."""
    rows = pipeline.ask(
        """
        SELECT count(DISTINCT k.consultation_id), count(DISTINCT g.id), count(DISTINCT r.id),
               count(DISTINCT e.id)
        FROM consultations c
        LEFT JOIN consensus k ON k.consultation_id = c.id
        LEFT JOIN generations g ON g.consultation_id = c.id
        LEFT JOIN reviews r ON r.consultation_id = c.id
        LEFT JOIN outbox_events e ON e.consultation_id = c.id
        WHERE c.submission_id = %s GROUP BY c.id
        """,
        submission,
    )
    assert rows == [(1, 3, 6, 1)] * count


def test_a_batch_ends_exactly_once(pipeline: Pipeline) -> None:
    """Nine calls a consultation, none twice, and nothing left behind in a queue."""
    submission = pipeline.submit(vignettes(4))
    pipeline.wait(submission)
    ended_once(pipeline, submission, 4)
    assert pipeline.panel("/ledger")["total"] == 4 * 9


def test_every_queue_is_a_quorum_queue(settings: Settings) -> None:
    """RabbitMQ says so itself when asked to have it of another type."""
    for queue in QUEUES:
        with Connection(**looking(broker_of(settings))) as connection:
            channel = connection.channel()
            with pytest.raises(amqp.PreconditionFailed, match="current is 'quorum'"):
                channel.queue_declare(
                    queue, durable=True, auto_delete=False, arguments={"x-queue-type": "classic"}
                )


def test_a_producer_and_an_operator_see_it(
    settings: Settings, server: tuple[str, str], ours: Authority, another: Authority
) -> None:
    """A nudge is confirmed, the queues' lengths are known, the doctor names both servers; TLS does too."""
    assert nudge.nudge(settings)
    assert depths(settings).keys() == set(QUEUES)
    told = {check.name: check for check in services.broker(settings)}
    assert told["broker"].told.startswith("RabbitMQ 3.")
    assert {check.level for check in told.values()} == {"ok"}
    assert "redis evicts nothing" in told
    encrypted = Settings(_env_file=None, broker_url=server[1], redis_url="redis://127.0.0.1:9/0")
    assert depths(encrypted).keys() == set(QUEUES)
    assert nudge.nudge(encrypted)
    url = server[1].replace(str(ours.ca), str(another.ca))
    with pytest.raises(Unreachable, match="TLS: its certificate is refused"):
        depths(Settings(_env_file=None, broker_url=url))


def test_a_killed_workers_messages_come_again(pipeline: Pipeline, stack: Stack) -> None:
    """Without any sweep: the calls in flight are lost with it, and nothing else; the answers come once."""
    pipeline.panel("/control/delay", {"seconds": 4})
    submission = pipeline.submit(vignettes(3))
    until(lambda: pipeline.panel("/ledger")["open"] >= 6)
    stack.kill("models-1")
    lost = pipeline.panel("/ledger")["total"]
    pipeline.panel("/control/delay", {"seconds": 0})
    pipeline.wait(submission)
    ended_once(pipeline, submission, 3)
    books = pipeline.panel("/ledger")
    assert books["overlaps"] == 0
    assert 3 * 9 < books["total"] <= 3 * 9 + lost
    assert pipeline.ask("SELECT sum(resumes) FROM consultations WHERE submission_id = %s", submission) == [
        (0,)
    ]


@pytest.mark.parametrize("queue", ["remote.urgent", "conclude"])
def test_a_countdown_is_kept(pipeline: Pipeline, app: Celery, queue: str) -> None:
    """RabbitMQ holds it back, not a worker; it comes through the queue that it was meant for."""
    wait_s = countdown_s(str(app.conf.broker_url), 1.2)
    assert wait_s == 2
    pipeline.ask("INSERT INTO heartbeats (queue) VALUES (%s) RETURNING queue", queue)
    [(began,)] = pipeline.ask("SELECT clock_timestamp()")
    app.send_task(HEARTBEAT, (MESSAGE_VERSION, 0), queue=queue, countdown=wait_s, ignore_result=True)
    received = "SELECT received_at FROM heartbeats WHERE queue = %s"
    until(lambda: pipeline.ask(received, queue)[0][0] > began)
    assert (pipeline.ask(received, queue)[0][0] - began).total_seconds() >= 2


def test_a_delayed_messages_queue_is_known() -> None:
    """Its routing key begins with its delay; what is not ours is nobody's queue."""
    assert queue_of("0.0.1.0.local.urgent") == "local.urgent"
    assert queue_of("conclude") == "conclude"
    assert queue_of(None) is queue_of("celery") is None


def test_what_rabbitmq_has_forgotten_the_sweep_brings_again(pipeline: Pipeline, app: Celery) -> None:
    """Its queues are emptied while work waits in them: all of it ends once, from what is stored."""
    pipeline.panel("/control/delay", {"seconds": 4})
    submission = pipeline.submit(vignettes(5))  # 15 answers are owed, and the worker holds 8
    with app.connection_for_read() as connection:
        until(lambda: connection.default_channel.queue_purge("remote") > 0)
    pipeline.panel("/control/delay", {"seconds": 0})

    def swept(row: dict[str, Any]) -> bool:
        app.send_task(SWEEP, queue="conclude", ignore_result=True)
        return row["state"] == "finished"

    pipeline.wait(submission, swept)
    ended_once(pipeline, submission, 5)


def test_the_watchdog_sees_what_lies_there(settings: Settings, app: Celery) -> None:
    """A message in a queue that nobody takes from is work that lies; an empty queue is none."""
    ctx = context("postgresql://127.0.0.1:9/none", broker_url=settings.require_broker())
    watchdog = Watchdog(ctx, ["unserved"], slots=1)
    watchdog.look()
    with app.connection_for_write() as connection:
        queue = connection.SimpleQueue("unserved", queue_args={"x-queue-type": "quorum"})
        queue.put({})
        until(lambda: queue.qsize() > 0)
        idle_s = watchdog.idle_s()
        watchdog.look()
        assert watchdog.idle_s() > idle_s, "it lies"
        queue.clear()
        idle_s = watchdog.idle_s()
        watchdog.look()
        assert watchdog.idle_s() < idle_s, "nothing lies"
        queue.close()
