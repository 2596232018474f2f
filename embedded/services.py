"""The embedded servers, tied together: `with Services(home) as services: services.addresses`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embedded import postgres, redis
from embedded.home import Home
from embedded.process import raise_file_limit, server_user
from embedded.spawn import User
from embedded.supervisor import Echo, ProcessError, Spec, Supervisor
from shared.addresses import address
from shared.errors import SettingsError
from shared.settings import with_secrets

_START_S, _STOP_S = 60, 5


@dataclass(frozen=True)
class Addresses:
    """Where things are. `embedded` names the servers that are ours ("postgres", "redis").

    `redis_url` is the Redis beside a RabbitMQ, or None where the broker's serves for all.
    """

    database_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    site_key: str = field(repr=False)
    embedded: frozenset[str] = frozenset()
    redis_url: str | None = field(default=None, repr=False)

    def variables(self) -> dict[str, str]:
        """As variables of the environment."""
        given = {
            "CONSILIUM_DATABASE_URL": self.database_url,
            "CONSILIUM_BROKER_URL": self.broker_url,
            "CONSILIUM_REDIS_URL": self.redis_url,
            "CONSILIUM_SITE_KEY": self.site_key,
        }
        return {name: value for name, value in given.items() if value is not None}


class Services:
    """PostgreSQL and Redis for one local folder, running inside the `with`.

    A server whose address stands in `environ` (CONSILIUM_DATABASE_URL, CONSILIUM_BROKER_URL, or a file for
    it) is used as it is and not started; so is CONSILIUM_SITE_KEY. Where the broker is a RabbitMQ, Redis is
    started beside it unless CONSILIUM_REDIS_URL names one. What was started is restarted when it dies, is
    stopped at the end, and dies with this process. `supervisor` takes more processes; stages below 2 end
    before the servers.

    Entering raises `SettingsError` (the folder, its user, another run, the platform) or `ProcessError`.
    """

    def __init__(
        self, home: Path, environ: Mapping[str, str] | None = None, echo: Echo | None = None
    ) -> None:
        self.home = Home(home)
        self.environ = with_secrets(os.environ if environ is None else environ)
        self.supervisor = Supervisor(self.home.logs, echo)
        self.addresses: Addresses

    def __enter__(self) -> Services:
        raise_file_limit()
        self.home.__enter__()
        try:
            self.addresses = self._start()
            self.write_connection({})
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, deadline: float = math.inf) -> None:
        """Stop everything; what still runs after 5 s or at `deadline` (of `time.monotonic()`) is killed.

        That is safe for both servers, and PostgreSQL 18 needs it: asked to stop just after a crash, while it
        reads its log again, it sometimes never does.
        """
        self.supervisor.stop(deadline=min(deadline, time.monotonic() + _STOP_S))
        self.home.remove_connection()
        self.home.__exit__()

    def write_connection(self, more: Mapping[str, str]) -> None:
        """Write connection.env: our addresses, the key and `more`; no address or key from the environment."""
        ours = {
            name: value for name, value in self.addresses.variables().items() if not self.environ.get(name)
        }
        self.home.write_connection({**ours, **more})

    def _start(self) -> Addresses:
        given = {
            name: self.environ.get(f"CONSILIUM_{name}", "")
            for name in ("DATABASE_URL", "BROKER_URL", "REDIS_URL", "SITE_KEY")
        }
        if given["DATABASE_URL"] and not given["SITE_KEY"]:
            raise SettingsError(
                "CONSILIUM_DATABASE_URL is set but CONSILIUM_SITE_KEY is not: make one with `openssl rand "
                "-base64 32` and keep it, for without it no stored text can be read again"
            )
        home, wanted = self.home, []
        wants = _redis_for(given["BROKER_URL"], given["REDIS_URL"])
        if wants:
            wanted.append(redis)
        if not given["DATABASE_URL"]:
            wanted.append(postgres)
        user = server_user() if wanted else None
        ports = {server.NAME: home.port(server.NAME) for server in wanted}
        for server in wanted:
            self.supervisor.start(server.prepare(home, user, ports[server.NAME]))
        for server in wanted:
            ports[server.NAME] = self._await(server.NAME, server.prepare, user, ports[server.NAME])
        if not given["DATABASE_URL"]:
            port, password = ports[postgres.NAME], home.password(postgres.NAME)
            postgres.create_database(port, password)
            given["DATABASE_URL"] = postgres.address(port, password)
        if wants:
            given[wants] = redis.address(ports[redis.NAME], home.password(redis.NAME))
        return Addresses(
            database_url=given["DATABASE_URL"],
            broker_url=given["BROKER_URL"],
            site_key=given["SITE_KEY"] or home.site_key(),
            embedded=frozenset(ports),
            redis_url=given["REDIS_URL"] or None,
        )

    def _await(
        self, name: str, prepare: Callable[[Home, User | None, int], Spec], user: User | None, port: int
    ) -> int:
        """Wait until a server serves; if somebody took its port in between, once more with another one."""
        try:
            self.supervisor.wait_ready([name], timeout_s=_START_S)
        except ProcessError:
            another = self.home.port(name)
            if another == port:  # it was not the port
                raise
            self.supervisor.stop(names=[name], deadline=time.monotonic() + 5)
            self.supervisor.start(prepare(self.home, user, another))
            self.supervisor.wait_ready([name], timeout_s=_START_S)
            return another
        return port


def _redis_for(broker_url: str, redis_url: str) -> str | None:
    """What an embedded Redis is needed for: the broker, or beside RabbitMQ; None if for nothing."""
    if not broker_url:
        return "BROKER_URL"
    try:
        rabbitmq = address(broker_url).rabbitmq
    except ValueError as error:
        raise SettingsError(f"CONSILIUM_BROKER_URL: {error}") from None
    return "REDIS_URL" if rabbitmq and not redis_url else None
