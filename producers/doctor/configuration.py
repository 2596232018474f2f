"""Settings whose relation matters: leases, stall times, the broker's redelivery time, heartbeats."""

from __future__ import annotations

from producers.health import Check, check
from shared.addresses import address
from shared.errors import SettingsError
from shared.registry import Registry, lease_s, load_registry, stall_s, visibility_s
from shared.settings import Settings

CONSUMER_TIMEOUT_S = 1800
"""RabbitMQ's own: a message that a worker has held for so long is taken away from it."""


def models_of(settings: Settings) -> tuple[Registry | None, list[Check]]:
    """The registry, or None, and the check of whether it can be read."""
    try:
        registry = load_registry(settings.require_models_file())
    except SettingsError as error:  # names file, line and key, never a value
        return None, [Check("models.toml", "problem", str(error))]
    return registry, [Check("models.toml", "ok", f"{len(registry)} models")]


def longest_lease_s(registry: Registry, settings: Settings) -> float:
    """Of all models, in seconds."""
    return max(lease_s(model, settings) for model in registry.values())


def relations(registry: Registry, settings: Settings) -> list[Check]:
    """The numbers, and whether they fit together."""
    longest = longest_lease_s(registry, settings)
    deadline = max(model.deadline_s for model in registry.values())
    stall = stall_s(registry.values(), settings)
    parts = f"deadline {deadline:g} + hold {settings.hold_s:g} + slack {settings.lease_slack_s:g}"
    beats = settings.heartbeat_stale_s > 2 * settings.sweep_every_s
    told = f"stale after {settings.heartbeat_stale_s:g} s, looked at every {settings.sweep_every_s:g} s"
    return [
        Check("lease", "ok", f"longest {longest:g} s = {parts}"),
        check("stall", stall > longest, f"{stall:g} s, longer than the longest lease of {longest:g} s"),
        _visibility(registry, settings, longest),
        check(
            "heartbeat",
            beats,
            told if beats else f"{told}: set CONSILIUM_HEARTBEAT_STALE_S above twice CONSILIUM_SWEEP_EVERY_S",
        ),
    ]


def _visibility(registry: Registry, settings: Settings, longest: float) -> Check:
    try:
        seconds = visibility_s(registry, settings)
    except SettingsError as error:
        return Check("redelivery", "problem", str(error))
    if settings.broker_url is not None and address(settings.require_broker()).rabbitmq:
        held_s = 2 * longest  # it may wait in a worker for one lease, and is worked on for another
        told = f"RabbitMQ's consumer_timeout (30 minutes unless set) must be longer than {held_s:g} s"
        return check("redelivery", held_s < CONSUMER_TIMEOUT_S, told, else_="warning")
    least = f"countdown {settings.countdown_cap_s:g} + longest lease {longest:g}"
    return Check("redelivery", "ok", f"after {seconds:g} s, longer than {least}")
