"""The processes that are Consilium on one machine: their command lines in one place, the whole as a library.

with Stack(home, {"sweep_every_s": 2}, time_scale=0.05) as stack:
    stack.kill("models-1")      # SIGKILL; it is restarted
    stack.wait_ready()
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import tomllib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from db import migrate
from embedded.fork_server import PYTHON_M, ForkServer
from embedded.home import write_private
from embedded.process import ending, raise_file_limit
from embedded.services import Addresses, Services
from embedded.supervisor import Echo, ProcessError, Spec
from shared.errors import SettingsError
from shared.settings import read_settings, with_secrets

DOORS = frozenset({"flower", "metrics", "api", "delivery"})
"""Those by which somebody looks in, or work and news pass: what is accepted is done without them."""
_WORKERS, _REST = 0, 1  # stages of stopping; the servers are the last
_FLOWER_USER = "consilium"
_STOP_OURS_S, _STOP_S = 8.0, 9.0  # what still runs so long after the signal is killed: ours, the servers

_GIVEN_UP = text(  # by the database's own clock
    "SELECT count(*) FROM model_calls"
    " WHERE outcome = 'given_up' AND ended_at >= clock_timestamp() - make_interval(secs => :seconds)"
)

# what takes time to import, where it neither reads the environment nor answers Celery's signals; the panel is
# no part of it
_PRELOADED = (
    *("celery.bin.worker", "celery.app.amqp", "celery.worker.consumer", "celery.concurrency.thread"),
    *("workers.answering", "workers.checking", "workers.concluding", "workers.purging", "workers.sweep"),
    *("workers.backend", "workers.redis_transport", "workers.watchdog", "sqlalchemy.dialects.postgresql"),
)


def _worker(celery: list[str], name: str, queues: str, pool: str, slots: int) -> list[str]:
    return [
        *(*celery, "worker", "-n", f"{name}@%h", "-Q", queues, "-P", pool, "-c", str(slots)),
        *("--without-gossip", "--without-mingle", "-l", "INFO"),
    ]


def commands(
    home: Path,
    *,
    workers: int,
    model_slots: int,
    flower_port: int,
    metrics_port: int,
    api_port: int,
    app: str = "workers.app",
    pool: str = "threads",
) -> dict[str, tuple[list[str], str]]:
    """Module with arguments, and pattern of the ready line, by name, of all our own processes but the panel.

    `app` is the module of the workers' Celery application, `pool` that of those that call models. Secrets
    (addresses with passwords, Flower's credentials) are in their environment, never here.
    """
    celery = ["workers", app]
    keyless = ["workers", "workers.keyless"]
    ready = r"\bready\.$"
    models = "remote,remote.urgent,local,local.urgent"
    flower = [f"--port={flower_port}", "--address=127.0.0.1", "--max_tasks=10000"]
    many = [f"models-{i}" for i in range(1, workers + 1)]
    return {
        **{name: (_worker(celery, name, models, pool, model_slots), ready) for name in many},
        "urgent": (_worker(celery, "urgent", "remote.urgent,local.urgent", "threads", 8), ready),
        "conclude": (_worker(celery, "conclude", "conclude,periodic", "threads", 4), ready),
        # one at a time, in its own process: what crashes there crashes nothing else
        "quarantine": (_worker(celery, "quarantine", "quarantine", "solo", 1), ready),
        "beat": ([*keyless, "beat", "-s", str(home / "beat-schedule"), "-l", "INFO"], "beat: Starting"),
        "flower": ([*keyless, "flower", *flower], "Visit me at"),
        "metrics": (
            ["producers.metrics", "--port", str(metrics_port)],
            "metrics on",
        ),
        "api": (["producers.api", "--port", str(api_port)], "api on"),
        "delivery": (["producers.delivery"], "delivery ready"),
    }


def real_models(models_file: Path) -> list[str]:
    """Names of the models in a models.toml that are not simulated. Raises `SettingsError`."""
    try:
        tables = tomllib.loads(models_file.read_text(encoding="utf-8")).get("models", {})
    except OSError as error:
        raise SettingsError(f"CONSILIUM_MODELS_FILE: cannot read {models_file}: {error.strerror}") from None
    except ValueError as error:  # bad TOML or bad UTF-8; the messages name the place
        raise SettingsError(f"CONSILIUM_MODELS_FILE: {models_file}: {error}") from None
    return [name for name, model in tables.items() if not model.get("simulated", False)]


class Stack:
    """Servers, migrations, panel, workers, beat and Flower, running and supervised inside the `with`.

    `overrides` are settings by field name. `workers`: how many model workers. `panel`: run the simulated
    panel; by default if no models file is given. `time_scale` multiplies its latencies, `panel_options` are
    more options of `panel serve`. `app` is the module of the workers' Celery application and `pool` that of
    the model workers; `more_environ` is added to the processes' environment; those named in `without` are
    not started. `echo` gets every line of output with the name of its process, from other threads.

    Entering starts everything and waits for the servers and migrations only (`wait_ready` for the rest); it
    raises `SettingsError` or `ProcessError` and leaves nothing running then. Signals are the caller's;
    `kill_all` may be called from a handler.
    """

    def __init__(
        self,
        home: Path,
        overrides: Mapping[str, Any] | None = None,
        *,
        workers: int = 2,
        panel: bool | None = None,
        time_scale: float = 1.0,
        panel_options: Sequence[str] = (),
        app: str = "workers.app",
        pool: str = "threads",
        more_environ: Mapping[str, str] | None = None,
        without: Collection[str] = (),
        echo: Echo | None = None,
    ) -> None:
        changed = {f"CONSILIUM_{name.upper()}": str(value) for name, value in (overrides or {}).items()}
        # CELERY_BROKER_URL would win over our own address, FLOWER_PORT is what Kubernetes sets for a service
        # named flower: neither is meant for us
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "FLOWER_"))}
        given = {**kept, **changed, **(more_environ or {})}
        self._environ = {**with_secrets(given), "PYTHONUNBUFFERED": "1"}
        self.settings = read_settings(**{"home": home, **(overrides or {})})
        self._services = Services(home, self._environ, echo)
        self._forks = ForkServer(_PRELOADED)
        self._workers = workers
        self._time_scale = time_scale
        self._panel_options = panel_options
        self._app, self._pool, self._without = app, pool, without
        self._panel = self.settings.models_file is None if panel is None else panel
        if not self._panel and self.settings.models_file is None:
            raise SettingsError(
                "without the panel there are no models: set CONSILIUM_MODELS_FILE to a models.toml"
            )
        self.given_up: int | None = None
        self.panel_url: str | None = None
        self.flower_url: str
        self.flower_auth: tuple[str, str]
        self.metrics_url: str
        self.api_url: str

    @property
    def home(self) -> Path:
        """The local folder, absolute."""
        return self._services.home.path

    @property
    def embedded(self) -> bool:
        """Whether the database is ours and not given by the environment."""
        return self.settings.database_url is None

    @property
    def addresses(self) -> Addresses:
        """Of the database and the broker, and the site key."""
        return self._services.addresses

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the processes: with it, any other command finds the running set."""
        return dict(self._environ)

    @property
    def names(self) -> list[str]:
        """Names of all processes."""
        return self._services.supervisor.names

    def pid(self, name: str) -> int | None:
        """Process id now; None between two lives."""
        return self._services.supervisor.pid(name)

    def kill(self, name: str, *, down_s: float = 0.0) -> None:
        """SIGKILL a process and its children; it is restarted, after `down_s` seconds at the earliest."""
        self._services.supervisor.kill(name, down_s=down_s)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signal one process; if it ends of that, it is restarted."""
        self._services.supervisor.signal(name, number)

    def kill_all(self) -> None:
        """SIGKILL everything now; `stop` then has nothing to wait for."""
        self._forks.close()
        self._services.supervisor.kill_all()

    def wait_ready(self, names: Collection[str] | None = None, *, timeout_s: float = 60) -> None:
        """Wait until the named processes (default: all) say that they serve. Raises `ProcessError`."""
        self._services.supervisor.wait_ready(names, timeout_s=timeout_s)

    def __enter__(self) -> Stack:
        raise_file_limit()
        self._forks.warm()  # while the servers start
        try:
            self._services.__enter__()
        except BaseException:
            self._forks.close()
            raise
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        home, at = self._services.home, self.addresses
        self._environ |= {
            "CONSILIUM_HOME": str(home.path),
            **at.variables(),
        }
        models_file = (self.settings.models_file or home.path / "models.toml").absolute()
        self._environ["CONSILIUM_MODELS_FILE"] = str(models_file)
        with ThreadPoolExecutor(1) as beside:
            panel = beside.submit(self._start_panel) if self._panel else None
            migrate.upgrade(at.database_url)
            if panel is not None:
                panel.result()
        flower_port = home.port("flower")
        self.flower_url = f"http://127.0.0.1:{flower_port}"
        self.flower_auth = (_FLOWER_USER, home.password("flower"))
        metrics_port = self.settings.metrics_port or home.port("metrics")
        self.metrics_url = f"http://{self.settings.metrics_host}:{metrics_port}"
        api_port = self.settings.api_port or home.port("api")
        self.api_url = f"http://{self.settings.api_host}:{api_port}"
        self._environ["FLOWER_BASIC_AUTH"] = ":".join(self.flower_auth)
        lines = commands(
            home.path,
            workers=self._workers,
            model_slots=self.settings.model_slots,
            flower_port=flower_port,
            metrics_port=metrics_port,
            api_port=api_port,
            app=self._app,
            pool=self._pool,
        )
        for name, (argv, ready) in lines.items():
            if name in self._without:
                continue
            if self.settings.log_level not in ("DEBUG", "INFO"):
                ready = ""  # nothing is said then: it serves as soon as it runs
            self._run(name, argv, ready, _REST if name in {"beat", *DOORS} else _WORKERS)
        self._services.write_connection(
            {
                "CONSILIUM_MODELS_FILE": str(models_file),
                "CONSILIUM_FLOWER_URL": self.flower_url,
                "CONSILIUM_METRICS_URL": self.metrics_url,
                "CONSILIUM_API_URL": self.api_url,
                "CONSILIUM_FLOWER_AUTH": ":".join(self.flower_auth),
            }
        )

    def _start_panel(self) -> None:
        """Start the panel's server; write its models.toml, unless the user gave one."""
        home = self._services.home
        port = home.port("panel")
        self.panel_url = f"http://127.0.0.1:{port}/v1"
        scale = ["--time-scale", str(self._time_scale)]
        self._run(
            "panel",
            ["panel", "serve", "--port", str(port), *scale, *self._panel_options],
            "panel listening on",
            _REST,
        )
        if self.settings.models_file is None:
            made = subprocess.run(
                [*PYTHON_M, "panel", "models", "--base-url", self.panel_url, *scale],
                env=self._environ,
                cwd=home.path,
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode != 0:
                raise ProcessError(
                    f"`panel models` ended with {ending(made.returncode)}: {made.stderr[-500:]}"
                )
            write_private(home.path / "models.toml", made.stdout)

    def _run(self, name: str, argv: Sequence[str], ready: str, stage: int) -> None:
        patches = "gevent" in argv  # the standard library, which nobody may have used before: not forked
        self._services.supervisor.start(
            Spec(
                name=name,
                argv=[*PYTHON_M, *argv] if patches else argv,
                cwd=self.home,
                env=dict(self._environ),
                ready=ready,
                stage=stage,
                forks=None if patches else self._forks,
            )
        )

    def stop(self) -> None:
        """Stop everything within 10 s: workers, then beat, Flower and panel, then the servers.

        `given_up` is then the number of calls in flight that were closed; None if the database did not say.
        """
        supervisor, began = self._services.supervisor, time.monotonic()
        ours = [name for name in supervisor.names if name not in ("postgres", "redis")]
        supervisor.stop(ours, deadline=began + _STOP_OURS_S)
        self._forks.close()
        if ours:
            self.given_up = self._count_given_up(time.monotonic() - began)
        self._services.stop(deadline=began + _STOP_S)

    def _count_given_up(self, seconds: float) -> int | None:
        engine = create_engine(
            make_url(self.addresses.database_url).set(drivername="postgresql+psycopg"),
            hide_parameters=True,
            poolclass=NullPool,
            connect_args={"connect_timeout": 1, "options": "-c statement_timeout=500"},
        )
        with contextlib.suppress(DBAPIError), engine.connect() as connection:
            return int(connection.scalar(_GIVEN_UP, {"seconds": seconds}) or 0)
        return None  # a second Ctrl-C killed it, or it is away: not known
