"""Workers on two hosts of their own, one of which is cut off from the servers and joins them again."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from embedded.fork_server import PYTHON_M
from embedded.supervisor import Spec, Supervisor
from producers.cli.stack import DOORS, commands
from tests.faults.bench import Bench
from tests.faults.hosts import CannotSeparate, Host
from tests.faults.registry import STALL_S, Kind, Skipped, scenario

CUT_S, CALL_S = 20.0, 2.5  # a lease is shorter than the one and longer than the other
# whoever calls models is on a host; what concludes, sweeps and delivers is where the servers are
HOSTS = Kind("hosts", {"hold_s": 8}, workers=0, without=DOORS | {"urgent"})

BY_HOST = """
    SELECT count(*) FROM owed_answers o JOIN consultations c ON c.id = o.consultation_id
    JOIN model_calls m ON m.owed_answer_id = o.id AND m.claim = o.claims
    WHERE c.submission_id = %s AND o.state = 'answered' AND starts_with(o.holder, %s || ' ')
      AND m.ended_at > to_timestamp(%s)
"""


@scenario(31, "one of two hosts cut off for 20 s", size=30, kind=HOSTS, limit_s=300)
def cut_off(bench: Bench, size: int) -> None:
    """Two hosts work; the link of one is down for 20 s with calls in flight, then up. Pass: the other goes on
    meanwhile, both work afterwards, and at most what was in flight on the one is called once more."""
    with _two_hosts(bench) as (a, b):
        bench.delay(CALL_S)
        submission = bench.submit(size, stall_s=STALL_S)
        bench.until(lambda now: now.share > 0.05, submission, what="5 % of the answers")
        bench.wait(lambda: _busy(bench, a) >= 4, "4 calls in flight on the host that is cut off")
        a.cut()
        until = time.monotonic() + CUT_S
        in_flight = _busy(bench, a)
        began = bench.now(submission).answered
        bench.wait(lambda: time.monotonic() >= until, "the end of the cut")
        meanwhile = bench.now(submission).answered - began
        joined = time.time()
        a.join()
        bench.fault()
        books = bench.finish(submission, allowed=bench.settings.model_slots)
        by_a, by_b = (_answers(bench, submission, host, 0) for host in (a, b))
        after = _answers(bench, submission, a, joined)
    bench.expect("calls in flight on the host that is cut off", in_flight > 0, in_flight)
    bench.expect("answers while one host is cut off", meanwhile > 0, meanwhile)
    bench.expect("answers of the host that joined again", after > 0, after)
    print(
        f"hosts: {books.consultations} consultations, {by_a} + {by_b} answers of two hosts; one cut off for "
        f"{CUT_S:g} s with {in_flight} calls in flight, {meanwhile} answers of the other meanwhile, {after} "
        f"of the one after it had joined again: {books.lost} lost, {books.dup} paid although stored, "
        f"{books.retries + books.extra} asked again whose answer could not come back",
        flush=True,
    )


@contextmanager
def _two_hosts(bench: Bench) -> Iterator[tuple[Host, Host]]:
    """Hosts a and b, each with one model worker that serves. Raises `Skipped`."""
    at, panel = bench.stack.addresses, bench.stack.panel_url
    assert panel is not None
    ports = [urlsplit(url).port or 0 for url in (at.database_url, at.broker_url, panel)]
    with ExitStack() as stack:
        try:
            a, b = (stack.enter_context(Host(name, n, ports)) for n, name in enumerate("ab", 1))
        except CannotSeparate as reason:
            raise Skipped(str(reason)) from None
        workers = Supervisor(bench.stack.home / "logs")
        stack.callback(lambda: workers.stop(deadline=time.monotonic() + 10))
        for host in (a, b):
            workers.start(host.spec(_worker(bench, host)))
        workers.wait_ready()
        yield a, b


def _worker(bench: Bench, host: Host) -> Spec:
    """A model worker of the product, whose servers and models are behind the host's link."""
    environ = bench.stack.environ
    models = bench.home / f"models-{host.name}.toml"
    models.write_text(
        Path(environ["CONSILIUM_MODELS_FILE"]).read_text("utf-8").replace("127.0.0.1", host.gateway), "utf-8"
    )
    for name in ("CONSILIUM_DATABASE_URL", "CONSILIUM_BROKER_URL"):
        environ[name] = environ[name].replace("127.0.0.1", host.gateway)
    environ["CONSILIUM_MODELS_FILE"] = str(models)
    argv, ready = commands(
        bench.stack.home,
        workers=1,
        model_slots=bench.settings.model_slots,
        flower_port=0,
        metrics_port=0,
        api_port=0,
        app="tests.faults.app",
    )["models-1"]
    return Spec(
        name=_name(host),
        argv=[*PYTHON_M, *(word.replace("models-1@%h", _name(host)) for word in argv)],
        cwd=bench.stack.home,
        env=environ,
        ready=ready,
        stage=0,
    )


def _name(host: Host) -> str:
    return f"models@{host.name}"


def _busy(bench: Bench, host: Host) -> int:
    """Calls in flight on it."""
    [(held,)] = bench.ask(
        "SELECT count(*) FROM owed_answers WHERE state = 'owed' AND claimed_until > now() "
        "AND starts_with(holder, %s || ' ')",
        _name(host),
    )
    return int(held)


def _answers(bench: Bench, submission: uuid.UUID, host: Host, since: float) -> int:
    """Its answers since that time, in seconds since 1970."""
    [(found,)] = bench.ask(BY_HOST, submission, _name(host), since)
    return int(found)
