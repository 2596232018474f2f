"""How much a source may ask: requests a minute over all processes, and bodies at once."""

from __future__ import annotations

import select
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from embedded.services import Services
from producers.api.limits import ALL_UPLOADS, UPLOADS, Limits
from producers.api.problems import Problem
from shared.settings import Settings
from tests import accepted
from tests.producers.api.conftest import Door, opened

LINE = b'{"id": "a", "vignette": "A man of seventy has had pain in the chest since this morning."}'


@pytest.fixture
def counting(database_url: str, services: Services) -> Iterator[Door]:
    """The API with the site's Redis."""
    with opened(accepted.context(database_url, broker_url=services.addresses.broker_url)) as door:
        yield door


def _set(door: Door, source: str, most: int) -> uuid.UUID:
    [(found,)] = accepted.ask(
        door.ctx, "UPDATE sources SET requests_per_minute = %s WHERE name = %s RETURNING id", most, source
    )
    assert isinstance(found, uuid.UUID)
    return found


def test_a_source_that_asks_too_often_is_told_when(counting: Door) -> None:
    """With all its keys together, and whatever it asks; another source is not held up."""
    _set(counting, "local", 3)
    with counting.client() as one, counting.client() as two, counting.client("other") as other:
        got = [client.get("/submissions") for client in (one, two, one, two)]
        assert [answer.status_code for answer in got] == [200, 200, 200, 429]
        assert got[3].headers["content-type"] == "application/problem+json"
        assert got[3].json()["type"] == "too-many-requests"
        assert 1 <= int(got[3].headers["retry-after"]) <= 60
        assert one.post("/submissions", content=LINE).status_code == 429
        assert other.get("/submissions").status_code == 200


def test_who_waits_as_told_is_not_refused_twice(services: Services) -> None:
    """Two processes count together, and after Retry-After both go on."""
    settings = Settings(_env_file=None, broker_url=services.addresses.broker_url)
    here, there = (Limits(settings, window_s=1) for _ in range(2))
    source = uuid.uuid4()
    for each in (here, there):
        each.request(source, 2)
    with pytest.raises(Problem) as told:
        here.request(source, 2)
    time.sleep(int(told.value.headers["Retry-After"]))  # as the client must
    for each in (there, here):
        each.request(source, 2)


def test_without_redis_requests_go_on(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """They are not counted then, and the log says so once."""
    _set(door, "local", 1)
    with door.client() as client:
        assert {client.get("/submissions").status_code for _ in range(5)} == {200}
    assert len([r for r in caplog.records if "not counted" in r.message]) == 1


def test_bodies_at_once_are_bounded(door: Door) -> None:
    """One more than so many is refused, of another source it is not, and a place that is left is free."""
    source = _set(door, "local", 100)
    with door.client() as client, door.client("other") as other, ExitStack() as places:
        for _ in range(UPLOADS):
            places.enter_context(door.site.limits.upload(source))
        refused = client.post("/submissions", content=LINE)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/submissions").status_code == 200
        assert other.post("/submissions", content=LINE).status_code != 429
        places.pop_all().close()
        for _ in range(UPLOADS + 1):
            assert client.post("/submissions", content=LINE).status_code != 429


def test_slow_bodies_leave_threads_for_the_rest(door: Door) -> None:
    """More sources than there are threads, and none of them sends on: all else is answered meanwhile."""
    where = urlsplit(door.url)
    with ExitStack() as stack:
        slow = []
        for key in [door.key(f"ward-{k}") for k in range(40 // UPLOADS + 1)] * UPLOADS:
            slow.append(stack.enter_context(socket.create_connection((where.hostname, where.port))))
            head = f"POST /v1/submissions HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {key}\r\n"
            slow[-1].sendall(f"{head}Content-Length: 9\r\n\r\n".encode())
        refused: set[socket.socket] = set()
        while len(refused) < len(slow) - ALL_UPLOADS:
            answered, _, _ = select.select(list(set(slow) - refused), [], [], 10)
            assert answered, "the rest waits"
            refused.update(answered)
        for each in refused:
            told = each.recv(65_536)
            assert (told[:12], b"retry-after: 10" in told) == (b"HTTP/1.1 429", True)
        assert httpx.get(f"{door.url}/healthz", timeout=10).status_code == 200


def test_places_are_taken_once() -> None:
    """Of many threads at once, no more than so many get one."""
    limits, source = Limits(Settings(_env_file=None, broker_url="redis://127.0.0.1:9/0")), uuid.uuid4()
    together, tried = threading.Barrier(3 * UPLOADS), threading.Barrier(3 * UPLOADS)
    refused: list[str] = []

    def upload() -> None:
        together.wait(30)
        try:
            with limits.upload(source):
                tried.wait(30)
        except Problem as problem:
            refused.append(problem.type)
            tried.wait(30)

    threads = [threading.Thread(target=upload) for _ in range(3 * UPLOADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["too-many-requests"] * (2 * UPLOADS)
