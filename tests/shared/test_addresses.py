"""Addresses of brokers: what is understood, what is refused, and that no secret is told."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from kombu import Connection

from shared.addresses import address, tls_fault


def test_without_tls_an_address_stays_as_it_is() -> None:
    """User, password and database are the clients' to read."""
    for url, rabbitmq in (("redis://user:p%40ss@host:6379/3", False), ("amqp://u:p@host:5672/v", True)):
        found = address(url)
        assert (found.url, found.rabbitmq, found.tls) == (url, rabbitmq, None)
        assert "host" not in repr(found)


def test_redis_with_tls_is_always_checked(tmp_path: Path) -> None:
    """Celery wants `ssl_cert_reqs` said, kombu without it checks nobody: it is added."""
    (ca := tmp_path / "a ca.pem").touch()
    found = address(f"rediss://user:secret@host:6380/0?ssl_ca_certs={ca}".replace(" ", "%20"))
    assert found.tls == {"ssl_ca_certs": str(ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert found.url.endswith("a%20ca.pem&ssl_cert_reqs=required")
    assert Connection(found.url).ssl == found.tls
    assert address("rediss://host/0").tls == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert address(found.url) == found, "twice is once"


def test_rabbitmq_with_tls_takes_the_same_words(tmp_path: Path) -> None:
    """They become py-amqp's, and leave the address, which kombu would read otherwise."""
    (ca := tmp_path / "ca.pem").touch()
    found = address(f"amqps://user:secret@rabbit:5671/v?ssl_ca_certs={ca}")
    assert found.url == "amqps://user:secret@rabbit:5671/v"
    assert found.tls == {"ca_certs": str(ca), "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "rabbit"}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqs://secret@host", "must begin with redis://, rediss://, amqp:// or amqps://"),
        ("redis://:secret@host/0?ssl_ca_certs=/ca.pem", "ssl_ca_certs need TLS: begin it with rediss://"),
        ("rediss://:secret@host/0?ssl_ca_certs=/no/ca.pem", "ssl_ca_certs: there is no file /no/ca.pem"),
        ("rediss://:secret@host/0?ssl_cert_reqs=none", "ssl_cert_reqs must be `required`"),
        ("amqps://u:secret@host/?ssl_check_hostname=false", "ssl_check_hostname is not known"),
    ],
)
def test_what_is_wrong_is_told_without_a_secret(url: str, told: str) -> None:
    """An address that would be read otherwise by one of the clients, or checks nobody, is refused."""
    with pytest.raises(ValueError) as caught:
        address(url)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_why_tls_failed_is_found_behind_the_clients_errors() -> None:
    """Clients wrap it; whatever is not TLS's fault is not called so."""
    wrapped = ConnectionError("Error 1")
    wrapped.__cause__ = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    assert tls_fault(wrapped) == "TLS: no handshake: [SSL: WRONG_VERSION_NUMBER] wrong version number"
    assert tls_fault(ConnectionRefusedError()) is None
