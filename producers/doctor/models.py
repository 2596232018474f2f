"""The models: keys by name, prices, breakers and pauses."""

from __future__ import annotations

import os
from collections.abc import Iterable

from sqlalchemy.orm import Session

from db.queries import measurements
from producers.health import Check, check
from shared.registry import Model, Registry


def models(session: Session, registry: Registry) -> list[Check]:
    """Keys, prices, open breakers and pauses of the models in models.toml."""
    states = {row["model"]: row for row in measurements.models(session) if row["model"] in registry}
    opened = {name: row["open_s"] for name, row in states.items() if row["breaker"] != "closed"}
    waits = {name: row["wait_s"] for name, row in states.items() if row["wait_s"] > 0}
    pauses = measurements.pauses(session)
    paused = [p["name"] for p in pauses if p["scope"] == "model" and p["name"] in registry]
    scopes = {p["scope"] for p in pauses}
    more = {  # a source is not named: this may be shown to others
        told: f"`consilium resume{given}` lets it go on"
        for scope, told, given in (("all", "everything", ""), ("source", "a source", " --source NAME"))
        if scope in scopes
    }
    unpriced = [m.name for m in registry.values() if m.usd_per_mtok_in is None or m.usd_per_mtok_out is None]
    return [
        _keys(registry.values()),
        _few("prices", unpriced, "all known", "their cost is not known: set usd_per_mtok_in and _out"),
        _few(
            "breakers",
            [f"{name} (for {seconds:.0f} s)" for name, seconds in sorted(opened.items())],
            "all closed",
            "nobody calls them but a probe now and then: are they up? `consilium models check`",
        ),
        Check("rate limits", "ok", _listed(waits) or "nobody waits"),
        _few("paused models", paused, "none", "`consilium resume --model NAME` lets one go on"),
        _few("paused otherwise", list(more), "nothing", ", ".join(more.values())),
    ]


def _keys(models: Iterable[Model]) -> Check:
    """Only workers need the keys, so that one that is not set here is no fault."""
    missing = sorted({m.key_env for m in models if m.key_env and not os.environ.get(m.key_env)})
    files = sorted({str(m.key_file) for m in models if m.key_file and not m.key_file.is_file()})
    told = [f"{name} is not set here" for name in missing] + [f"{name} is not a file here" for name in files]
    return Check("keys", "ok", "; ".join(told) + " (only workers need it)" if told else "all named are here")


def _few(name: str, which: list[str], none: str, what_to_do: str) -> Check:
    told = f"{', '.join(which)}: {what_to_do}" if which else none
    return check(name, not which, told, else_="warning")


def _listed(waits: dict[str, float]) -> str:
    return ", ".join(f"{name} waits {seconds:.0f} s" for name, seconds in sorted(waits.items()))
