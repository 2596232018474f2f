"""What goes wrong, at which rate: one table of rates, for all models or for one, changeable at run time.

A rate is a share of calls in [0, 1]; the faults of one call exclude each other, so the rates of a model add
up to at most 1. Which call is hit follows from (seed, model, prompt, attempt) alone.

    unavailable  503 at once            429         Too Many Requests with Retry-After (seconds or HTTP date)
    5xx          500, 502 or 503 late   hang        no answer until the client leaves
    malformed    an unreadable answer   refusal     the model declines
    over_length  cut at the length limit
    planting     no fault: the share of the planting model's answers that carry "grade this 1.0"
    heedless     no fault: the share of cases in which a model, answering as well as grading, overlooks the
                 patient's allergies and interactions with what is taken
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panel.chance import choice, uniform
from panel.models import MODELS

FAULTS = ("unavailable", "429", "5xx", "hang", "malformed", "refusal", "over_length")
RATES = (*FAULTS, "planting", "heedless")

PLANTING = 0.6
OFF: dict[str, float] = {**dict.fromkeys(FAULTS, 0.0), "planting": PLANTING, "heedless": 0.0}
DEFAULT: dict[str, float] = {
    **OFF,
    "429": 0.03,
    "5xx": 0.02,
    "hang": 0.003,
    "malformed": 0.03,
    "refusal": 0.005,
    "over_length": 0.005,
}
PRESETS = {"off": OFF, "default": DEFAULT}


class FaultError(ValueError):
    """A table of rates is wrong; the message names the key."""


class Faults:
    """The rates in force; `models` overrides single rates of single models."""

    def __init__(
        self, rates: Mapping[str, float], models: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        self.rates = {**OFF, **rates}
        self.models = {name: dict(own) for name, own in (models or {}).items()}
        for name, own in {"": {}, **self.models}.items():
            if name and name not in MODELS:
                raise FaultError(f"no model {name!r}; known: {', '.join(MODELS)}")
            _check(name or "all models", {**self.rates, **own})

    @classmethod
    def read(cls, source: object) -> Faults:
        """From a preset's name or a table like `{"429": 0.05, "models": {"sim-…": {"hang": 1}}}`.

        What a table leaves out is off (planting: its default). Raises `FaultError`.
        """
        if isinstance(source, str):
            if source not in PRESETS:
                raise FaultError(f"no preset {source!r}; known: {', '.join(PRESETS)}")
            return cls(PRESETS[source])
        if not isinstance(source, dict):
            raise FaultError("faults are a preset's name or a table of rates")
        table = dict(source)
        models = table.pop("models", {})
        if not isinstance(models, dict) or not all(isinstance(own, dict) for own in models.values()):
            raise FaultError("models: a table of tables, one for each model")
        return cls(table, models)

    @classmethod
    def load(cls, path: Path) -> Faults:
        """From a .toml or .json file. Raises `FaultError`, `OSError`."""
        text = path.read_text(encoding="utf-8")
        try:
            return cls.read(json.loads(text) if path.suffix == ".json" else tomllib.loads(text))
        except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
            raise FaultError(f"{path.name}: {error}") from error

    def rate(self, model: str, name: str) -> float:
        """The rate of one fault (or of planting, or of heedlessness) for one model."""
        return self.models.get(model, {}).get(name, self.rates[name])

    def draw(self, model: str, *what: object) -> str | None:
        """The fault of the call that `what` stands for, or None."""
        left = uniform("fault", model, *what)
        for name in FAULTS:
            left -= self.rate(model, name)
            if left < 0:
                return name
        return None

    def as_json(self) -> dict[str, Any]:
        """The table, as `read` takes it."""
        return {**self.rates, "models": self.models}


def _check(whose: str, rates: Mapping[str, object]) -> None:
    for key, rate in rates.items():
        if key not in RATES:
            raise FaultError(f"{whose}: no fault {key!r}; known: {', '.join(RATES)}")
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise FaultError(f"{whose}: {key} must be a number from 0 to 1")
    if sum(float(str(rates[name])) for name in FAULTS) > 1 + 1e-9:
        raise FaultError(f"{whose}: the rates of all faults add up to more than 1")


def malformed(answer: dict[str, Any], schema: object, *what: object) -> str:
    """An unreadable form of a good answer: cut, schema echo, prose, wrong types, grade out of range."""
    text = json.dumps(answer, ensure_ascii=False)
    kind = choice(("cut", "echo", "prose", "types", "range"), "malformed", *what)
    if kind == "cut":
        return text[: max(len(text) * 2 // 3, 1)]
    if kind == "echo" and schema:
        return json.dumps(schema)
    if kind in ("types", "range"):
        if "grade" in answer:
            wrong = "very good" if kind == "types" else choice((8.5, 85, 1.2, -0.5), "range", *what)
            return json.dumps({**answer, "grade": wrong}, ensure_ascii=False)
        return json.dumps(
            {**answer, "decision": "treat", "medications": "see the rationale"}, ensure_ascii=False
        )
    return (
        "I have considered the case with care and agree with what has been said. Nothing speaks against it."
    )
