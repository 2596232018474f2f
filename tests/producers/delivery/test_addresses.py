"""Where webhooks may not lead: looked at when one is added, and again at each delivery."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import pytest

from producers.delivery import addresses
from producers.delivery.addresses import check, permitted
from producers.delivery.posting import NotDelivered, Poster
from producers.delivery.webhooks import Webhooks
from shared.errors import SettingsError
from tests.accepted import ask
from tests.producers.delivery.conftest import add, end
from tests.producers.delivery.receiver import Receiver
from workers.context import Context


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("10.1.2.3", False, True),
        ("172.16.0.1", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("fd00::1", False, True),
        ("fec0::1", False, True),
        ("feff::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("64:ff9b::7f00:1", False, True),
        ("2002:7f00:1::", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1%eth0", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("240.0.0.1", False, False),
    ],
)
def test_permitted(address: str, public: bool, private: bool) -> None:
    """Public ones; a house's own only if allowed; metadata services', multicast and reserved ones never."""
    assert (permitted(address, private=False), permitted(address, private=True)) == (public, private)


@pytest.mark.parametrize(
    ("url", "private", "why"),
    [
        ("https://localhost/x", False, "--allow-private"),
        ("https://127.0.0.1/x", False, "--allow-private"),
        ("https://0x7f.1/x", False, "--allow-private"),
        ("https://[::1]/x", False, "--allow-private"),
        ("http://169.254.169.254/latest", True, "link-local"),
        ("http://93.184.216.34/x", False, "needs https"),
        ("https://me:secret@93.184.216.34/x", False, "no user or password"),
        ("ftp://93.184.216.34/x", True, "such as https"),
        ("https:///x", True, "such as https"),
        ("https://93.184.216.34:99999/", False, "port"),
        ("https://no-such-host.invalid/", False, "has no address"),
        ("https://93.184.216.34/a\x01secret", False, "escape"),
        ("https://[::1", False, "escape"),
    ],
)
def test_refused_when_added(url: str, private: bool, why: str) -> None:
    """With a sentence that says what to do, and without the address's secret."""
    with pytest.raises(SettingsError, match=why) as refused:
        check(url, private=private)
    assert "secret" not in str(refused.value)


def test_refused_at_each_delivery(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """A webhook whose name has got a loopback address since: nobody is connected to."""
    webhook = add(ctx, receiver, private=False)
    end(ctx, 1)
    assert sending.send(webhook) == 0
    assert receiver.asked == []
    assert ask(ctx, "SELECT error FROM deliveries WHERE attempts > 0") == [("address refused",)]


def test_the_address_that_was_looked_at_is_the_one(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is asked for once; what it answers the next time (DNS rebinding) is not connected to."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def answer(host: str, *more: Any, **options: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host == "hospital.test" else host, *more, **options)

    monkeypatch.setattr(addresses.socket, "getaddrinfo", answer)
    url = receiver.url.replace("127.0.0.1", "hospital.test")
    with Poster(private=True) as poster, pytest.raises(NotDelivered, match="HTTP 401"):
        poster.post(url, {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": ""}, b"{}")
    assert [host for host in asked if host != "127.0.0.1"] == ["hospital.test"]
    [(_, headers, _)] = receiver.asked
    assert headers["host"].startswith("hospital.test:")
    with Poster(private=False) as poster, pytest.raises(NotDelivered, match="address refused"):
        poster.post(url, {}, b"{}")


def test_a_receiver_that_dribbles_ends_at_the_deadline() -> None:
    """A byte now and then does not hold us: the deadline is that of the whole attempt."""

    def dribble() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            while not ended.wait(0.02):
                connection.sendall(b"H")

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=dribble)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with Poster(private=True, timeout_s=0.3) as poster, pytest.raises(NotDelivered, match="timed out"):
            poster.post(url, {}, b"{}")
        ended.set()
        thread.join()
