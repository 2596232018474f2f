"""Connections: reuse, one total deadline against slow servers, cuts, limits, and the end at shutdown."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shared.errors import GivenUp, Unavailable
from tests.workers.raw_server import (
    ENDLESS,
    OK,
    UNTIL_CLOSED,
    Serving,
    Visit,
    answering,
    own_calls,
    post,
    raw_servers,
)
from workers.clients import connections
from workers.clients.connections import MAX_BODY, CallsInFlight, HTTPAnswer


@pytest.fixture
def calls() -> Iterator[CallsInFlight]:
    with own_calls() as calls:
        yield calls


@pytest.fixture
def serving() -> Iterator[Serving]:
    with raw_servers() as start:
        yield start


def failure(future: Future[HTTPAnswer]) -> BaseException | None:
    return future.exception(timeout=20)


def test_sequential_calls_share_a_connection(calls: CallsInFlight, serving: Serving) -> None:
    """Twenty calls one after the other need one connection."""
    server = serving(answering)
    for number in range(20):
        answer = post(calls, server.url, b"%d" % number)
        assert (answer.status, answer.body) == (200, b"{}")
    assert len(server.requests) == 20
    assert server.connections == 1


def test_fifty_threads_need_fifty_connections_at_most(calls: CallsInFlight, serving: Serving) -> None:
    """Each call gets a connection for itself and its own answer, and connections are used again."""

    def echo(visit: Visit) -> None:
        while (body := visit.request()) is not None:
            visit.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    server = serving(echo)

    def four(number: int) -> list[bytes]:
        return [post(calls, server.url, b"%d.%d" % (number, n)).body for n in range(4)]

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(four, range(50)))
    assert results == [[b"%d.%d" % (number, n) for n in range(4)] for number in range(50)]
    assert server.connections <= 50
    assert calls.count == 0


def test_an_idle_connection_grown_old_is_not_used_again(serving: Serving) -> None:
    """With no idle time allowed, each call opens a connection and the one before is closed."""
    server = serving(answering)
    calls = CallsInFlight(idle_s=-1)
    for _ in range(3):
        post(calls, server.url)
    assert server.connections == 3
    assert server.gone.wait(20)
    calls.close_all()


def test_a_connection_the_server_closed_while_idle_is_replaced(
    calls: CallsInFlight, serving: Serving
) -> None:
    """A kept connection that the server has closed is no failure of the model."""

    def once(visit: Visit) -> None:
        visit.request()
        visit.sock.sendall(OK)

    server = serving(once)
    for _ in range(3):
        post(calls, server.url)
        assert server.closed.wait(20)
        server.closed.clear()
    assert (server.connections, len(server.requests)) == (3, 3)


def test_no_request_is_sent_twice(calls: CallsInFlight, serving: Serving) -> None:
    """A used connection cut after the request was read, before a byte of the answer: nobody asks again."""

    def second_fails(visit: Visit) -> None:
        visit.request()
        visit.sock.sendall(OK)
        visit.request()

    server = serving(second_fails)
    post(calls, server.url)
    with pytest.raises(Unavailable) as caught:
        post(calls, server.url)
    assert len(server.requests) == 2
    assert caught.value.prompt_tokens is None  # it was read: what it cost is not known


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", ENDLESS + b"ffff\r\n", UNTIL_CLOSED])
def test_the_deadline_holds_against_a_drip(calls: CallsInFlight, serving: Serving, start: bytes) -> None:
    """A server that always sends a little, in headers or body, is left when the deadline has passed."""

    def drip(visit: Visit) -> None:
        visit.request()
        visit.sock.sendall(start)
        visit.drip(b"a" if start else b"H")

    server = serving(drip)
    with pytest.raises(Unavailable, match=r"the deadline of 0\.5 s passed"):
        post(calls, server.url, deadline_s=0.5)
    assert server.gone.wait(20)
    assert calls.count == 0


def test_the_deadline_holds_on_a_used_connection_and_against_silence(
    calls: CallsInFlight, serving: Serving
) -> None:
    """The deadline is each call's own, also on a connection that has served another."""

    def then_silent(visit: Visit) -> None:
        visit.request()
        visit.sock.sendall(OK)
        visit.request()
        visit.wait_until_gone()

    server = serving(then_silent)
    post(calls, server.url)
    with pytest.raises(Unavailable, match="deadline"):
        post(calls, server.url, deadline_s=0.3)
    assert server.gone.wait(20)
    assert server.connections == 1


def test_the_deadline_holds_while_sending(calls: CallsInFlight, serving: Serving) -> None:
    """A server that does not read the request does not hold the caller."""
    done = threading.Event()

    def deaf(visit: Visit) -> None:
        done.wait(20)

    server = serving(deaf)
    try:
        with pytest.raises(Unavailable, match="deadline"):
            post(calls, server.url, b"x" * 20_000_000, deadline_s=0.5)
    finally:
        done.set()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        ENDLESS + b"5\r\nab",
        b"this is no HTTP\r\n\r\n",
    ],
)
def test_a_cut_or_broken_response_is_unavailable(calls: CallsInFlight, serving: Serving, sent: bytes) -> None:
    """A connection cut anywhere is a typed error that does not quote what was sent."""

    def cut(visit: Visit) -> None:
        visit.request()
        visit.sock.sendall(sent)

    server = serving(cut)
    with pytest.raises(Unavailable, match="the connection failed: ") as caught:
        post(calls, server.url)
    assert "this is no" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_body_is_read_up_to_a_limit(calls: CallsInFlight, serving: Serving) -> None:
    """A body over the limit is left unread, however long it goes on; one at the limit is read."""

    def endless(visit: Visit) -> None:
        visit.request()
        visit.sock.sendall(ENDLESS)
        while True:
            visit.sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    def longest(visit: Visit) -> None:
        visit.request()
        visit.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_BODY + b"x" * MAX_BODY)

    with pytest.raises(Unavailable, match=f"longer than {MAX_BODY} bytes"):
        post(calls, serving(endless).url)
    assert len(post(calls, serving(longest).url).body) == MAX_BODY


def test_a_compressed_body_is_not_read(calls: CallsInFlight, serving: Serving) -> None:
    """Compression is not asked for, and a server that compresses all the same is told so."""

    def gzip(visit: Visit) -> None:
        visit.request()
        visit.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")

    server = serving(gzip)
    with pytest.raises(Unavailable, match="compressed"):
        post(calls, server.url)
    assert b"accept-encoding: identity" in server.requests[0].lower()


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """An address at which connecting neither succeeds nor fails: its queue is full and nobody accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(10):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            if not poll.poll(200):
                break
        else:
            raise AssertionError("the queue takes more than 10 connections")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def test_connecting_has_a_deadline_of_its_own(calls: CallsInFlight) -> None:
    """Nobody accepts: the call ends at the connect deadline, and cost nothing."""
    with full_backlog() as url, pytest.raises(Unavailable, match=r"no connection within 0\.3 s") as caught:
        calls.post(url, headers={}, content=b"{}", connect_s=0.3, deadline_s=60)
    assert (caught.value.prompt_tokens, caught.value.completion_tokens) == (0, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a" * 70 + ".invalid"])
def test_no_server_is_unavailable_and_free(calls: CallsInFlight, host: str) -> None:
    """Connection refused at one address or two, no possible name: unavailable, and nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match="no connection") as caught:
        post(calls, f"http://{host}:{port}/v1")
    assert (caught.value.prompt_tokens, caught.value.completion_tokens) == (0, 0)


def test_close_all_ends_every_open_call_at_once(calls: CallsInFlight, serving: Serving) -> None:
    """Calls that wait for headers, in a body, in one that ends with the connection: all are given up."""
    starts = iter([b"", b"HTTP/1.1 200 OK\r\n", ENDLESS + b"1\r\na\r\n", UNTIL_CLOSED] * 5)

    def hang(visit: Visit) -> None:
        visit.request()
        visit.sock.sendall(next(starts))
        visit.wait_until_gone()

    server = serving(hang)
    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(post, calls, server.url) for _ in range(20)]
        for _ in futures:
            assert server.asked.acquire(timeout=20)
        assert calls.close_all() == 20
        for future in futures:
            error = failure(future)
            assert isinstance(error, GivenUp)
            assert error.prompt_tokens is None  # it was sent: what it cost is not known
    assert calls.count == 0


def test_close_all_ends_a_call_that_connects(calls: CallsInFlight) -> None:
    """A call that has no connection yet is given up long before its connect deadline, at no cost."""
    with full_backlog() as url, ThreadPoolExecutor(1) as pool:
        future = pool.submit(calls.post, url, headers={}, content=b"{}", connect_s=100, deadline_s=100)
        port = int(url.split(":")[2].split("/")[0])
        while not _connecting(port):
            assert not future.done()
        assert calls.close_all() == 1
        error = failure(future)
    assert isinstance(error, GivenUp)
    assert error.prompt_tokens == 0


def test_close_all_during_name_resolution_sends_nothing(
    calls: CallsInFlight, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that is just looking its host up opens no connection afterwards."""
    server = serving(answering)
    resolve = socket.getaddrinfo

    def resolve_late(*args: Any, **options: Any) -> Any:
        calls.close_all()
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_late)
    with pytest.raises(GivenUp) as caught:
        post(calls, server.url)
    assert caught.value.prompt_tokens == 0
    assert server.connections == 0


def _connecting(port: int) -> bool:
    """Whether more sockets of this machine wait in SYN_SENT for the port than the one of `full_backlog`."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows) >= 2


def test_nothing_is_sent_after_close_all(calls: CallsInFlight, serving: Serving) -> None:
    """Later calls are given up before a connection is opened; closing twice does no harm."""
    server = serving(answering)
    post(calls, server.url)
    assert calls.close_all() == 0
    assert calls.close_all() == 0
    assert server.gone.wait(20)
    with pytest.raises(GivenUp) as caught:
        post(calls, server.url)
    assert caught.value.prompt_tokens == 0
    assert (server.connections, len(server.requests)) == (1, 1)


def test_an_answer_that_arrived_is_kept_through_close_all(calls: CallsInFlight, serving: Serving) -> None:
    """Every call either has its whole answer or is given up; none has half of one."""
    server = serving(answering)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(post, calls, server.url) for _ in range(200)]
        for _ in range(20):
            assert server.asked.acquire(timeout=20)
        calls.close_all()
        for future in futures:
            error = failure(future)
            assert isinstance(error, GivenUp) if error else future.result().body == b"{}"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # 3.12: this process has threads
def test_a_forked_child_starts_without_connections(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool child of prefork opens its own connection and leaves its parent's alone."""
    server = serving(answering)
    calls = connections.calls_in_flight
    monkeypatch.setattr(calls, "_idle_s", 60)
    post(calls, server.url)
    assert calls._idle, "kept, beside what other tests may have left"
    if (child := os.fork()) == 0:
        os._exit(1 if calls._idle else 0)
    assert os.waitpid(child, 0)[1] == 0
    post(calls, server.url)
    assert server.connections == 1
    for stack in calls._idle.values():
        while stack:
            stack.pop().close()


def test_libraries_do_not_log_requests(
    calls: CallsInFlight, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """With everything at DEBUG, the HTTP libraries say nothing of a call."""
    caplog.set_level(logging.DEBUG)
    post(calls, serving(answering).url)
    assert not [record for record in caplog.records if record.name.startswith("http")]
