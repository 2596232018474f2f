"""The metrics, as a collector of prometheus-client: every scrape asks PostgreSQL and the broker anew."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.engine import transaction
from db.queries import deliveries, health, measurements
from producers.health import SILENT_AFTER_S, STATEMENT_S, queue_depths
from shared.broker import QUEUES
from shared.settings import Settings

PRIORITIES = ("urgent", "routine", "background")
STAGES = ("waiting", "generating", "reviewing", "concluding")
NOT_HELD = "none"
HELD = (NOT_HELD, "unread answer", "no workers", "no models", "paused", "budget")
REASONS = ("no_quorum", "expired", "no_progress")
OUTCOMES = ("answered", "failed", "late", "lost", "given_up")
NO_ERROR = "none"
ERRORS = (
    *(NO_ERROR, "rate_limited", "unavailable", "malformed", "rejected", "refused", "over_length"),
    *("given_up", "bug"),
)
BREAKERS = ("closed", "open", "half_open")
SCOPES = ("all", "source", "model")
OTHER = "other"
"""What is in no list, and a model that is no longer in models.toml."""


def _known(value: str, closed: Collection[str]) -> str:
    return value if value in closed else OTHER


class Site(Collector):
    """All metrics of a site. `models` are the names in models.toml.

    Where PostgreSQL cannot be asked `consilium_up` is 0 and only the broker's are told; nothing is raised.
    """

    def __init__(self, settings: Settings, models: Collection[str]) -> None:
        self._settings = settings
        self._models = tuple(models)
        self._one_at_a_time = threading.Lock()  # many scrapes at once cost the database no more than one

    def collect(self) -> Iterator[Metric]:
        """Every metric, with what holds now."""
        with self._one_at_a_time:
            try:
                with transaction(self._settings.require_database()) as session:
                    session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_S}s'"))
                    told = [family for ask in self._asked() for family in ask(session)]
            except DBAPIError:  # away, or without our tables; /healthz says which
                told = []
            depths = queue_depths(self._settings)
        yield GaugeMetricFamily("consilium_up", "1 if PostgreSQL told all of this.", value=bool(told))
        yield from told
        yield GaugeMetricFamily("consilium_broker_up", "1 if the broker answers.", value=depths is not None)
        if depths is not None:
            yield _gauge(
                "queue_depth_messages",
                "Messages that lie in a queue of the broker.",
                ("queue",),
                {(queue,): depth for queue, depth in depths.items()},
            )

    def _asked(self) -> Sequence[Callable[[Session], Iterable[Metric]]]:
        return (self._work, self._ends, self._calls, self._spend, self._shared, self._flow)

    def _work(self, session: Session) -> Iterator[Metric]:
        waiting = {PRIORITIES[row["priority"]]: row for row in measurements.oldest_waiting(session)}
        yield _gauge(
            "oldest_waiting_seconds",
            "Since when the oldest consultation waits to be dispatched, unless it is held; 0: none waits.",
            ("priority",),
            {(name,): waiting[name]["age_s"] if name in waiting else 0 for name in PRIORITIES},
        )
        opened: Counter[tuple[str, ...]] = Counter({(stage, held): 0 for stage in STAGES for held in HELD})
        for row in measurements.open_consultations(session):
            key = _known(row["stage"], STAGES), _known(row["held"] or NOT_HELD, HELD)
            opened[key] += row["consultations"]
        yield _gauge(
            "open_consultations", "Open consultations by what holds them.", ("stage", "held"), opened
        )
        yield GaugeMetricFamily(
            "consilium_stalled_consultations",
            "In flight past their stall time without a hold, a worker or a wait that would explain it.",
            value=len(measurements.stalled(session)),
        )
        letters: Counter[tuple[str, ...]] = Counter({(reason,): 0 for reason in REASONS})
        for row in measurements.dead_letters(session):
            letters[(_known(row["reason"] or OTHER, REASONS),)] += row["consultations"]
        yield _gauge("dead_letters", "Failed consultations that wait for a person.", ("reason",), letters)

    def _ends(self, session: Session) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "consilium_nothing_ended_seconds",
            "Since when work is in flight and no consultation has ended; 0: nothing is in flight.",
            value=measurements.nothing_ended_s(session),
        )
        yield _histogram(
            "time_to_end_seconds",
            "From accept to end, of what ended within the last hour (not since the start: no rate()).",
            "priority",
            PRIORITIES,
            measurements.TIME_TO_END_BOUNDS,
            [
                (PRIORITIES[row["priority"]], row["bucket"], row["consultations"], row["seconds"])
                for row in measurements.times_to_end(session)
            ],
        )

    def _calls(self, session: Session) -> Iterator[Metric]:
        calls: Counter[tuple[str, ...]] = Counter({(m, OUTCOMES[0], NO_ERROR): 0 for m in self._models})
        limited: Counter[str] = Counter()
        ended: Counter[str] = Counter(dict.fromkeys(self._models, 0))
        for row in measurements.calls(session):
            model, error = self._model(row["model"]), _known(row["error_kind"] or NO_ERROR, ERRORS)
            calls[model, _known(row["outcome"], OUTCOMES), error] += row["calls"]
            ended[model] += row["calls"]
            limited[model] += row["calls"] if error == "rate_limited" else 0
        labels = ("model", "outcome", "error")
        yield _gauge("model_recent_calls", "Calls that ended within the last 5 minutes.", labels, calls)
        yield _gauge(
            "model_rate_limited_ratio",
            "Share of the calls of the last 5 minutes that the provider refused with 429.",
            ("model",),
            {(model,): limited[model] / count if count else 0 for model, count in ended.items()},
        )
        yield _histogram(
            "model_latency_seconds",
            "How long the answered calls of the last 5 minutes took (not since the start: no rate()).",
            "model",
            self._models,
            measurements.LATENCY_BOUNDS,
            [
                (self._model(row["model"]), row["bucket"], row["calls"], row["seconds"])
                for row in measurements.latencies(session)
            ],
        )
        flying = self._by_model((row["model"], row["calls"]) for row in measurements.in_flight(session))
        yield _gauge("model_in_flight_calls", "Calls open on record.", ("model",), flying)

    def _spend(self, session: Session) -> Iterator[Metric]:
        rows = measurements.spend(session)
        spent = self._by_model((row["model"], float(row["usd"])) for row in rows)
        yield _gauge("spend_last_hour_usd", "Known cost of the last hour's calls.", ("model",), spent)
        unpriced = self._by_model((row["model"], row["unpriced"]) for row in rows)
        yield _gauge(
            "unpriced_calls_last_hour",
            "Calls of the last hour without a known cost.",
            ("model",),
            unpriced,
        )

    def _shared(self, session: Session) -> Iterator[Metric]:
        """What workers share about models that are in models.toml now, and what an operator has paused."""
        rows = {row["model"]: row for row in measurements.models(session)}
        states = {name: rows.get(name, _NOTHING_SAID) for name in self._models}
        pauses = measurements.pauses(session)
        paused = {pause["name"] for pause in pauses if pause["scope"] == "model"}
        yield _gauge(
            "model_breaker",
            "1 for the state that the model's circuit breaker is in.",
            ("model", "state"),
            {(name, state): row["breaker"] == state for name, row in states.items() for state in BREAKERS},
        )
        yield _gauge(
            "model_breaker_open_seconds",
            "Since when the circuit breaker is open or half open; 0: closed.",
            ("model",),
            {(name,): row["open_s"] for name, row in states.items()},
        )
        yield _gauge(
            "model_wait_seconds",
            "How long a provider's Retry-After still holds all calls, when the sweep last looked.",
            ("model",),
            {(name,): row["wait_s"] for name, row in states.items()},
        )
        yield _gauge(
            "model_limit_calls",
            "Calls at once that the limiter has learned to be good; missing: nothing learned yet.",
            ("model",),
            {
                (name,): row["learned_limit"]
                for name, row in states.items()
                if row["learned_limit"] is not None
            },
        )
        yield _gauge(
            "model_paused",
            "1 if an operator has paused the model.",
            ("model",),
            {(name,): name in paused for name in self._models},
        )
        scopes = Counter(pause["scope"] for pause in pauses)
        yield _gauge(
            "pauses", "What operators have paused.", ("scope",), {(scope,): scopes[scope] for scope in SCOPES}
        )

    def _flow(self, session: Session) -> Iterator[Metric]:
        beats = {b.queue: b for b in health.heartbeats(session, stale_s=self._settings.heartbeat_stale_s)}
        queues = [queue for queue in QUEUES if queue in beats]
        yield _gauge(
            "heartbeat_age_seconds",
            "Since when no heartbeat has gone through the queue; of `conclude`: since the last sweep.",
            ("queue",),
            {(queue,): beats[queue].age_s for queue in queues},
        )
        yield _gauge(
            "heartbeat_stale",
            "1 if the queue's heartbeat was sent and nobody has taken it for too long: it has no workers.",
            ("queue",),
            {(queue,): beats[queue].stale for queue in queues},
        )
        alive = [worker for worker in health.workers(session) if not worker.stopped]
        silent = sum(worker.seen_s >= SILENT_AFTER_S for worker in alive)
        yield _gauge(
            "workers",
            "Worker processes that have not stopped.",
            ("state",),
            {("running",): len(alive) - silent, ("silent",): silent},
        )
        yield GaugeMetricFamily(
            "consilium_undelivered_event_seconds",
            "Since when the oldest event waits for a webhook or exchange in use; 0: none waits.",
            value=deliveries.oldest_s(session),
        )
        yield GaugeMetricFamily(
            "consilium_parked_messages",
            "Messages of a version that no worker knew.",
            value=measurements.parked(session),
        )

    def _model(self, name: str) -> str:
        return _known(name, self._models)

    def _by_model(self, rows: Iterable[tuple[str, float]]) -> dict[tuple[str, ...], float]:
        total: dict[tuple[str, ...], float] = {(name,): 0 for name in self._models}
        for model, value in rows:
            key = (self._model(model),)
            total[key] = total.get(key, 0) + value
        return total


_NOTHING_SAID: Mapping[str, Any] = {"breaker": "closed", "open_s": 0, "wait_s": 0, "learned_limit": None}


def _gauge(
    name: str, about: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"consilium_{name}", about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def _histogram(
    name: str,
    about: str,
    label: str,
    keys: Iterable[str],
    bounds: Sequence[float],
    counted: Iterable[tuple[str, int, int, float]],
) -> GaugeHistogramMetricFamily:
    """A histogram of a window of time, from (key, index of the bucket, count, sum) of its filled buckets."""
    counts: dict[str, list[int]] = {key: [0] * (len(bounds) + 1) for key in keys}
    sums: defaultdict[str, float] = defaultdict(float)
    for key, bucket, count, total in counted:
        counts.setdefault(key, [0] * (len(bounds) + 1))[bucket] += count
        sums[key] += total
    family = GaugeHistogramMetricFamily(f"consilium_{name}", about, labels=(label,))
    for key, per_bucket in counts.items():
        cumulated = [sum(per_bucket[: i + 1]) for i in range(len(per_bucket))]
        edges = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        family.add_metric((key,), list(zip(edges, cumulated, strict=True)), sums[key])
    return family
