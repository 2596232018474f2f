"""Addresses of the broker and of Redis: what is understood in them, and TLS.

    redis://user:password@host:6379/0         rediss://…/0?ssl_ca_certs=/run/secrets/ca.pem
    amqp://user:password@host:5672/vhost      amqps://…/vhost?ssl_ca_certs=/run/secrets/ca.pem

TLS stands in the address, as PostgreSQL's does. Left to themselves kombu, Celery, redis-py, py-amqp and
Flower spell it in four ways, and kombu checks nobody's certificate; here one spelling holds for all of them,
and the server's certificate and name are always checked. Without `ssl_ca_certs` the system's authorities are
trusted.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

_SCHEMES = {"redis": False, "rediss": True, "amqp": False, "amqps": True}  # with TLS?
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHECKED = "ssl_cert_reqs"


@dataclass(frozen=True)
class Address:
    """A server's address: `url` as Celery takes it, `tls` as Celery's `broker_use_ssl` (None without TLS)."""

    url: str = field(repr=False)
    rabbitmq: bool
    tls: dict[str, Any] | None

    @property
    def name(self) -> str:
        """What kind of server it is, for people."""
        return "RabbitMQ" if self.rabbitmq else "Redis"


def address(url: str) -> Address:
    """What the address of a broker says. Raises `ValueError` with what is wrong and what to do, no secret.

    A TLS file that is not there is told here: the clients' own words for it do not name it.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError("it must begin with redis://, rediss://, amqp:// or amqps://")
    rabbitmq = parts.scheme.startswith("amqp")
    query = dict(parse_qsl(parts.query))
    asked = {name: query.pop(name) for name in list(query) if name.startswith("ssl_")}
    if not _SCHEMES[parts.scheme]:
        if asked:
            raise ValueError(f"{', '.join(sorted(asked))} need TLS: begin it with {parts.scheme}s://")
        return Address(url, rabbitmq, None)
    if unknown := asked.keys() - {*_FILES, _CHECKED}:
        raise ValueError(f"{', '.join(sorted(unknown))} is not known: {', '.join(_FILES)} are")
    if asked.pop(_CHECKED, "required") not in ("required", "CERT_REQUIRED"):
        raise ValueError(
            f"{_CHECKED} must be `required`: give {_FILES[0]} the file of the server's authority"
        )
    for name, file in asked.items():
        if not Path(file).is_file():
            raise ValueError(f"{name}: there is no file {file}")
    if rabbitmq:  # py-amqp's names, and none in the address, which it would take for its own
        files = {name.removeprefix("ssl_"): file for name, file in asked.items()}
        tls = {**files, "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname}
        return Address(_with_query(url, query), True, tls)
    strict = {**asked, _CHECKED: "required"}
    return Address(_with_query(url, {**query, **strict}), False, {**strict, _CHECKED: ssl.CERT_REQUIRED})


def _with_query(url: str, query: dict[str, str]) -> str:
    # %20, never +: kombu, Celery and redis-py all read that alike
    return urlunsplit(urlsplit(url)._replace(query=urlencode(query, quote_via=quote, safe="/")))


def tls_fault(error: BaseException) -> str | None:
    """What was wrong with TLS, if that is why a server could not be reached: a sentence's part; else None."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"TLS: its certificate is refused: {seen.verify_message}"
        if isinstance(seen, ssl.SSLError):
            return f"TLS: no handshake: {seen.args[-1]}"
        seen = seen.__cause__ or seen.__context__
    return None
