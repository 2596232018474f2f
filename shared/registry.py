"""The registry: which models there are (`models.toml`), what they cost, and how long a call may take.

One table per model and, where it has limits, per provider; docs/settings.md lists the keys, `Model` their
units. An error names file, line and key, and what to do; it never quotes a value, which may be a secret in
the wrong place.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from shared import protocols
from shared.errors import SettingsError
from shared.settings import Settings
from shared.toml_lines import fault, lines_of, syntax_fault

_INLINE_KEYS = {
    "key",
    "api_key",
    "apikey",
    "token",
    "api_token",
    "secret",
    "password",
    "authorization",
    "bearer",
}


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        good = False
    if not good or re.search(r"\s", url):
        raise ValueError("must be an address like https://host:port/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            "must hold no user, password, query or fragment; a key goes into key_env or key_file"
        )
    return url.rstrip("/")


def _proxy(url: str) -> str:
    try:
        good = bool(urlsplit(url).port) and re.fullmatch(r"http://[^/@?#\s]+/?", url)
    except ValueError:  # a port that is no number
        good = None
    if not good:
        raise ValueError("must be http://host:port; no proxy is spoken to that asks for a user or by https")
    return url.rstrip("/")


def _parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("must hold only what JSON can say: no dates, no nan, no inf") from None
    return parameters


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Price = Annotated[Decimal, Field(ge=0)]
Count = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,49}$")]


@dataclass(frozen=True)
class Limits:
    """What a model, or a provider's key, bears: calls at once, calls and tokens a minute. None: no limit."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    max_in_flight: Count | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None


_LIMITS = TypeAdapter(Limits)
_LIMITS_KEYS = [field.name for field in fields(Limits)]


class Model(BaseModel):
    """One model as the registry describes it. It names where its key is, never the key."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name  # the table's
    provider: Slug  # who bills; keys and limits are grouped by it
    protocol: protocols.Name  # the module of workers.clients
    location: Literal["remote", "local"]
    simulated: bool = False
    family: Slug
    base_url: Annotated[str, AfterValidator(_address)]
    model: Name = ""  # the name asked for; empty in the file = `name`
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    key_file: Path | None = None  # relative to models.toml
    proxy: Annotated[str, AfterValidator(_proxy)] | None = None  # http://host:port; None: directly
    ca_file: Path | None = None  # PEM, relative to models.toml; the only authorities that are trusted
    connect_s: Seconds = 5.0
    deadline_s: Seconds = 0.0  # T, of one whole attempt; not given: 60 s remote, 600 s local
    max_in_flight: Count | None = None  # these three over all workers and machines
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None  # prompt and answer
    usd_per_mtok_in: Price | None = None  # per million tokens; None = not known, 0 = free
    usd_per_mtok_out: Price | None = None
    structured: bool = True  # send the answer's JSON schema, in the protocol's own way
    parameters: Annotated[dict[str, Any], AfterValidator(_parameters)] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        by_location = {"deadline_s": 600.0 if given.get("location") == "local" else 60.0}
        return {"model": given.get("name"), **by_location, **given}

    @field_validator("base_url", "parameters")
    @classmethod
    def _spoken(cls, value: Any, info: ValidationInfo) -> Any:
        if protocol := info.data.get("protocol"):  # else that is the fault that is told
            check = protocols.check_address if info.field_name == "base_url" else protocols.check_parameters
            check(protocol, value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("key_env and key_file are both given; leave one out")
        if self.protocol == "gemini" and "/" in self.model:
            raise ValueError("model is the bare name, without models/")
        if self.ca_file is not None and not self.base_url.lower().startswith("https:"):
            raise ValueError("ca_file is given, but base_url is not https: change it, or leave ca_file out")
        if self.connect_s > self.deadline_s:
            raise ValueError("connect_s is longer than deadline_s, which includes it")
        if self.simulated != self.name.startswith("sim-"):
            raise ValueError("a simulated model is called sim-…, and no other: rename it or set simulated")
        return self

    @property
    def parameters_digest(self) -> str:
        """SHA-256 (hex) of what shapes the answers beside the model itself; it tells model versions apart."""
        shaping = {"parameters": self.parameters, "structured": self.structured}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Registry(Mapping[str, Model]):
    """The models by name, in the file's order, and the limits of every provider; does not change."""

    def __init__(self, models: Iterable[Model], providers: Mapping[str, Limits] | None = None) -> None:
        self._models = {model.name: model for model in models}
        given = providers or {}
        self.providers: Mapping[str, Limits] = {
            model.provider: given.get(model.provider, Limits()) for model in self._models.values()
        }

    def __getitem__(self, name: str) -> Model:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def names(self) -> frozenset[str]:
        """All that a model may call itself by: the registry's names, the names asked for, the families."""
        return frozenset(name for m in self.values() for name in (m.name, m.model, m.family))


def load_registry(path: Path) -> Registry:
    """Read `models.toml`. Raises `SettingsError` with one `file:line: key: what and remedy` per fault."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        remedy = "name a readable UTF-8 file in CONSILIUM_MODELS_FILE"
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__}); {remedy}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(syntax_fault(path, text, str(error))) from None

    lines = lines_of(text)
    faults = [
        fault(path, lines, (key,), "unknown key; every model is a table [models.NAME]")
        for key in document
        if key not in ("models", "providers")
    ]
    tables = document.get("models")
    if not isinstance(tables, dict) or not tables:
        faults.append(fault(path, lines, ("models",), "there is no model; add a table [models.NAME]"))
        tables = {}
    models = []
    for name, table in tables.items():
        if not isinstance(table, dict):
            faults.append(fault(path, lines, ("models", name), "is no table; write [models.NAME]"))
        elif "name" in table:
            faults.append(fault(path, lines, ("models", name, "name"), "unknown key; the table's name is it"))
        else:
            try:
                model = Model.model_validate({"name": name, **table})
            except ValidationError as error:
                known = [key for key in Model.model_fields if key != "name"]
                faults += [
                    fault(path, lines, ("models", name, *loc), what) for loc, what in _explain(error, known)
                ]
            else:
                given = {name: getattr(model, name) for name in ("key_file", "ca_file")}
                files = {name: file and path.parent / file for name, file in given.items()}
                models.append(model.model_copy(update=files))

    used = {str(table.get("provider")) for table in tables.values() if isinstance(table, dict)}
    providers, more = _providers(document.get("providers", {}), used)
    faults += [fault(path, lines, ("providers", *loc), what) for loc, what in more]
    if faults:
        raise SettingsError("\n".join(faults))
    return Registry(models, providers)


def _providers(tables: object, used: set[str]) -> tuple[dict[str, Limits], list[tuple[tuple[str, ...], str]]]:
    """The limits of the providers that have a table, and the faults of those tables."""
    if not isinstance(tables, dict):
        return {}, [((), "is no table; write [providers.NAME]")]
    limits: dict[str, Limits] = {}
    faults: list[tuple[tuple[str, ...], str]] = []
    for name, table in tables.items():
        if not isinstance(table, dict):
            faults.append(((name,), "is no table; write [providers.NAME]"))
            continue
        if name not in used:
            close = difflib.get_close_matches(name, used, 1)
            remedy = f"did you mean {close[0]}?" if close else "remove the table, or name it as a model does"
            faults.append(((name,), f"no model has this provider; {remedy}"))
        try:
            limits[name] = _LIMITS.validate_python(table)
        except ValidationError as error:
            faults += [((name, *loc), what) for loc, what in _explain(error, _LIMITS_KEYS)]
    return limits, faults


def limits_of(model: Model) -> Limits:
    """The model's own limits, as its table in `models.toml` has them."""
    return Limits(model.max_in_flight, model.requests_per_minute, model.tokens_per_minute)


def price(model: Model, prompt_tokens: int | None, completion_tokens: int | None) -> Decimal | None:
    """What a call cost in USD, exactly; None if a price or a count that matters is not known."""
    parts = [
        _part(model.usd_per_mtok_in, prompt_tokens),
        _part(model.usd_per_mtok_out, completion_tokens),
    ]
    known = [part for part in parts if part is not None]
    return sum(known, Decimal(0)) if len(known) == len(parts) else None


def _part(usd_per_mtok: Decimal | None, tokens: int | None) -> Decimal | None:
    if usd_per_mtok == 0 or tokens == 0:  # free, or nothing was used: 0, whatever the other is
        return Decimal(0)
    return None if usd_per_mtok is None or tokens is None else usd_per_mtok * tokens / 1_000_000


def lease_s(model: Model, settings: Settings) -> float:
    """How long a claim for a call to this model holds, in seconds: T + H + slack."""
    return model.deadline_s + settings.hold_s + settings.lease_slack_s


def stall_s(models: Iterable[Model], settings: Settings) -> float:
    """Seconds without progress after which a consultation of these seats is stalled; longer than any lease.

    Raises `ValueError` for no models.
    """
    return max(lease_s(model, settings) for model in models) + settings.stall_slack_s


def visibility_s(registry: Mapping[str, Model], settings: Settings) -> float:
    """The broker's redelivery time in seconds: longest countdown + longest lease + as much again.

    The second lease is the wait of a message that a worker holds behind a running call. Longer only delays
    redelivery, for which nothing waits (the sweep resumes). Raises `SettingsError` if the time that is set is
    too short for the registry.
    """
    longest = max((lease_s(model, settings) for model in registry.values()), default=0.0)
    least = settings.countdown_cap_s + longest
    if settings.visibility_s is None:
        return least + longest
    if settings.visibility_s <= least:
        raise SettingsError(
            f"CONSILIUM_VISIBILITY_S is {settings.visibility_s:g}, but must exceed the longest countdown "
            f"({settings.countdown_cap_s:g}) + the longest lease ({longest:g}) = {least:g}: raise it, leave "
            "it unset, or shorten the longest deadline_s in models.toml"
        )
    return settings.visibility_s


def _explain(error: ValidationError, known: list[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each fault's path within the table, and what is wrong with what to do; `known` are its keys."""
    for detail in error.errors(include_url=False, include_input=False):
        path = tuple(str(step) for step in detail["loc"])
        yield path, _remedy(detail, path[-1] if path else "", known)


def _remedy(detail: ErrorDetails, key: str, known: list[str]) -> str:
    if detail["type"] == "missing":
        return "is required; add it"
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        if key.lower() in _INLINE_KEYS:
            return "a key must not stand here; name its variable in key_env or its file in key_file"
        close = difflib.get_close_matches(key, known, 1)
        return (
            f"unknown key; did you mean {close[0]}?"
            if close
            else f"unknown key; known are {', '.join(known)}"
        )
    return detail["msg"].removeprefix("Value error, ")
