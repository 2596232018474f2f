"""Settings: one typed object, read from the environment (12-factor) or the local folder's `connection.env`.

`consilium up` writes `connection.env` (mode 0600) into the local folder when it starts embedded services, so
a second terminal's commands find them; a variable of the environment always wins. Every variable is named
`CONSILIUM_` plus the field's name in capitals. Secrets may lie in files instead, as Docker and Kubernetes
give them: `CONSILIUM_SECRETS_DIR` names the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.addresses import Address, address
from shared.errors import SettingsError


class Settings(BaseSettings):
    """All settings with their units in the name; see docs/settings.md for when to change one."""

    model_config = SettingsConfigDict(env_prefix="CONSILIUM_", extra="ignore", hide_input_in_errors=True)

    home: Path = Field(Path(".consilium"), description="Local folder: embedded data, logs, connection.env.")
    database_url: SecretStr | None = Field(None, description="PostgreSQL 16+; unset: the embedded one.")
    broker_url: SecretStr | None = Field(
        None, description="Redis 6.2+, Valkey or RabbitMQ 3.10+; unset: the embedded one."
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis for limits and counts; unset: the broker's, if that is Redis."
    )
    site_key: SecretStr | None = Field(None, description="32 bytes, base64: wraps every data key.")
    previous_site_key: SecretStr | None = Field(
        None, description="The one before, while `consilium sitekey rotate` is not done: it still opens."
    )
    models_file: Path | None = Field(None, description="models.toml; unset: the simulated panel's.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Level of our logs.")

    hold_s: float = Field(60, gt=0, description="H: a paid answer is kept in hand while PostgreSQL is away.")
    lease_slack_s: float = Field(30, gt=0, description="Lease = the model's deadline + hold_s + this.")
    stall_slack_s: float = Field(30, gt=0, description="Stalled after the longest lease of the seats + this.")
    sweep_every_s: float = Field(15, gt=0, description="How often beat sends the sweep.")
    recompute_every_s: float = Field(
        3600, gt=0, description="How often memory, chemistry and calibration are recomputed."
    )
    window: int = Field(50, gt=0, description="Consultations in the broker at once, over all sources.")
    source_window: int = Field(25, gt=0, description="The same of one source.")
    ageing_s: float = Field(3600, gt=0, description="Each such wait lifts a consultation by one priority.")
    no_progress_resumes: int = Field(
        5, gt=0, description="Consumed resumes in a row without any answer before it fails."
    )
    heartbeat_stale_s: float = Field(
        60, gt=0, description="A queue that nothing went through for so long has no workers."
    )
    idle_s: float = Field(
        60, gt=0, description="A worker with free slots that leaves a queue lying for so long ends itself."
    )
    close_calls_after_s: float = Field(
        5, ge=0, description="At shutdown, calls in flight are closed after this."
    )

    max_tries: int = Field(4, gt=0, description="Counted failures of one owed answer before it is excused.")
    backoff_base_s: float = Field(
        1, gt=0, description="First back-off after a failure; doubles, full jitter."
    )
    backoff_cap_s: float = Field(60, gt=0, description="Longest back-off.")
    rate_limit_total_s: float = Field(1800, gt=0, description="Total time an answer may wait on rate limits.")
    countdown_cap_s: float = Field(120, gt=0, description="Longer waits lie in PostgreSQL (`not_before`).")
    breaker_failures: int = Field(5, gt=0, description="Outages in a row that open a model's breaker.")
    breaker_cooldown_s: float = Field(30, gt=0, description="First wait before a probe; doubles.")
    breaker_cooldown_cap_s: float = Field(300, gt=0, description="Longest wait before a probe.")
    max_substitutions: int = Field(2, ge=0, description="Substitutes for one seat.")
    substitute_after_s: float = Field(
        300, ge=0, description="A model that is away is waited for so long (urgent: not at all)."
    )
    in_flight_start: int = Field(8, gt=0, description="A model's calls in flight before anything is learned.")
    in_flight_cap: int = Field(64, gt=0, description="Most calls in flight where models.toml says nothing.")
    limit_window_s: float = Field(60, gt=0, description="The minute of `requests_per_minute`.")

    deadline_urgent_s: float = Field(900, gt=0, description="An urgent consultation expires after this.")
    deadline_routine_s: float = Field(86_400, gt=0, description="A routine consultation expires after this.")
    reviews_per_answer: int = Field(4, ge=1, description="Reviewers per answer above N = 5.")
    retention_days: int = Field(30, gt=0, description="Clinical text is kept this long.")

    safety_rules: Path | None = Field(None, description="CSV with the site's own safety rules.")
    dial_severity: float = Field(
        1.0, ge=0, le=1000, description="λ: utility lost per unit of summed severity."
    )
    dial_same_class: float = Field(0.1, ge=0, le=1000, description="ν: utility lost per pair of one class.")
    dial_treats: float = Field(
        0.05, ge=0, le=1000, description="κ: utility gained per condition that is treated."
    )
    dial_grade: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="γ: weight of an answer's grade in its drugs' support; unset: as fitted.",
    )

    history_purposes: str = Field("care", description="Purposes whose history is learned from, with commas.")
    explore_share: float = Field(
        0.05, ge=0, le=1, description="Share of learned draws that go to an ensemble not thought best."
    )
    optimism: float = Field(
        0.1, ge=0, description="Standard errors that an ensemble's value is lifted by: doubt is explored."
    )
    penalty_per_minute: float = Field(
        0.01, ge=0, description="Value (0 to 1) given up for a minute less of expected latency."
    )
    penalty_per_usd: float = Field(
        0.05, ge=0, description="Value given up for a USD less per consultation; an unknown price is no 0."
    )
    penalty_failure: float = Field(0.1, ge=0, description="Value given up per seat expected to be lost.")
    price_tie: float = Field(
        0.01, ge=0, description="Most value given up for a cheaper ensemble that history cannot tell apart."
    )
    calibration_vignettes: int = Field(
        300, ge=90, description="Vignettes with an outcome before confidence is calibrated."
    )

    model_slots: int = Field(
        32, gt=0, description="Threads of each model worker: calls in flight per process."
    )
    visibility_s: float | None = Field(
        None, description="Broker's redelivery time; unset: from the deadlines."
    )

    metrics_host: str = Field("127.0.0.1", description="Where /metrics listens; elsewhere it needs a token.")
    metrics_port: int = Field(0, ge=0, le=65_535, description="0: `up` takes a free one and prints it.")
    metrics_token: SecretStr | None = Field(None, description="Bearer token that /metrics asks for.")

    api_host: str = Field("127.0.0.1", description="Where the HTTP API listens; elsewhere put TLS before it.")
    api_port: int = Field(0, ge=0, le=65_535, description="0: `up` takes a free one and prints it.")
    api_public_url: str | None = Field(
        None, description="The HTTP API's address as clients know it, which signed requests must name."
    )
    api_requests_per_minute: int = Field(
        600, gt=0, description="Requests of one source over HTTP; a source may have its own."
    )
    api_max_records: int = Field(100_000, gt=0, description="Records of one submission over HTTP.")
    api_max_bytes: int = Field(
        1_073_741_824, gt=0, description="Bytes of one body over HTTP, unpacked; 1 GiB."
    )

    doors_file: Path | None = Field(
        None, description="TOML: the sources' own queues and exchanges; see docs/events.md."
    )

    def require_database(self) -> str:
        """The database's address, or a `SettingsError` that says what to do."""
        if self.database_url is None:
            raise self._absent("CONSILIUM_DATABASE_URL")
        url = self.database_url.get_secret_value()
        if not url.startswith(_POSTGRESQL):  # its value may hold a password, and is not shown
            raise SettingsError("CONSILIUM_DATABASE_URL: it must begin with postgresql://")
        return url

    def require_broker(self) -> str:
        """The broker's address, or a `SettingsError` that says what to do; `shared.addresses` reads it."""
        if self.broker_url is None:
            raise self._absent("CONSILIUM_BROKER_URL")
        _address("CONSILIUM_BROKER_URL", self.broker_url)
        return self.broker_url.get_secret_value()

    def require_redis(self) -> str:
        """The address of the Redis that limits and chords are counted in, or a `SettingsError`."""
        if self.redis_url is None:
            broker = address(self.require_broker())
            if broker.rabbitmq:
                raise SettingsError(
                    "CONSILIUM_BROKER_URL is RabbitMQ's, which cannot count: set CONSILIUM_REDIS_URL to a "
                    "Redis for limits and for what belongs together"
                )
            return broker.url
        redis = _address("CONSILIUM_REDIS_URL", self.redis_url)
        if redis.rabbitmq:
            raise SettingsError("CONSILIUM_REDIS_URL: it must begin with redis:// or rediss://")
        return redis.url

    def require_models_file(self) -> Path:
        """The registry's file, or a `SettingsError` that says what to do."""
        if self.models_file is None:
            raise self._absent("CONSILIUM_MODELS_FILE")
        return self.models_file

    def _absent(self, name: str) -> SettingsError:
        """A setting that is needed is not there: why, and what to do."""
        written = self.home.absolute() / "connection.env"
        if written.exists():
            return SettingsError(
                f"{name} is not set, nor in {written}: `consilium up` has it from its own environment; set "
                "it here too"
            )
        return SettingsError(
            f"{name} is not set and {written.parent} has no connection.env: start the embedded services with "
            "`consilium up`, or set the variable to a server of your own"
        )

    def dials(self) -> dict[str, float]:
        """The dials by which lists are refined, by their names in `shared.refinement.Dials`, and γ: grade."""
        fixed = {} if self.dial_grade is None else {"grade": self.dial_grade}
        return {
            "severity": self.dial_severity,
            "same_class": self.dial_same_class,
            "treats": self.dial_treats,
            **fixed,
        }

    def digest(self) -> str:
        """SHA-256 (hex) of what shapes a consultation: every setting but addresses, keys and paths."""
        shaping = self.model_dump(
            mode="json",
            exclude=_NOT_SHAPING,
        )
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


_NOT_SHAPING = {
    *("home", "database_url", "broker_url", "redis_url", "models_file", "log_level"),
    *("site_key", "previous_site_key"),
    "safety_rules",
    *("metrics_host", "metrics_port", "metrics_token"),
    *("api_host", "api_port", "api_public_url"),
    *("api_requests_per_minute", "api_max_records", "api_max_bytes"),
    "doors_file",
}

_POSTGRESQL = ("postgresql://", "postgres://", "postgresql+psycopg://")

SECRETS_DIR = "CONSILIUM_SECRETS_DIR"
SECRETS = tuple(
    f"CONSILIUM_{name.upper()}"
    for name, field in Settings.model_fields.items()
    if SecretStr in get_args(field.annotation)
)
"""Variables that may be given by a file named like them in lower case."""


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once. Raises `SettingsError` naming the variable."""
    home = Path(os.environ.get("CONSILIUM_HOME", ".consilium"))
    return read_settings(home / "connection.env")


def read_settings(env_file: Path | None = None, **changes: Any) -> Settings:
    """The settings of the environment and of secrets' files, over those of a file, under `changes`.

    Raises `SettingsError`.
    """
    secret = {name.removeprefix("CONSILIUM_").lower(): value for name, value in _in_files(os.environ).items()}
    try:
        return Settings(_env_file=env_file, **{**secret, **changes})
    except ValidationError as error:
        wrong = "; ".join(f"CONSILIUM_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"bad settings: {wrong}") from None


def with_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with what lies in secrets' files, for child processes. Raises `SettingsError`."""
    return {**{k: v for k, v in environ.items() if k != SECRETS_DIR}, **_in_files(environ)}


def _in_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables by name from the files of the folder that `CONSILIUM_SECRETS_DIR` names; {} without it."""
    if not (named := environ.get(SECRETS_DIR)):
        return {}
    folder = Path(named)
    if not folder.is_dir():
        raise SettingsError(f"{SECRETS_DIR}: {folder} is no folder")
    return {
        name: _read(name, folder / name.lower(), environ)
        for name in SECRETS
        if (folder / name.lower()).exists()
    }


def _read(name: str, path: Path, environ: Mapping[str, str]) -> str:
    if environ.get(name):
        raise SettingsError(f"{name} is set, and there is {path} too: give it in one place only")
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise SettingsError(f"{name}: {path} cannot be read ({why})") from None
    if not value:
        raise SettingsError(f"{name}: {path} is empty")
    return value


def _address(name: str, secret: SecretStr) -> Address:
    try:
        return address(secret.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None
