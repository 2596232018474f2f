"""Accepted vignettes in a database of a test's own, and a worker's context without Celery."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from db.engine import transaction
from db.ids import new_id
from db.queries import answers, owed_answers
from db.queries.documents import Vault
from db.queries.owed_answers import Claim, Look, Usage
from embedded.services import Services
from producers.intake import Order, accept
from producers.readers.ndjson import read_ndjson
from shared.broker import QUEUES, WIPE_MARKER
from shared.registry import Registry, load_registry
from shared.sealing import SiteKey, new_site_key
from shared.settings import Settings
from workers.config import celery_config
from workers.context import Context

ROOT = Path(__file__).parents[1]
PAID = Usage(100, 50, Decimal("0.00075"), 200)
TRIO = ("sim-alder-large", "sim-birch-large", "sim-cedar-large")


@cache
def models_toml() -> str:
    """The panel's own table of models, as it prints it."""
    command = [sys.executable, "-m", "panel", "models", "--base-url", "http://127.0.0.1:9/v1"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def registry(base_url: str = "http://127.0.0.1:9/v1") -> Registry:
    """The panel's models at this address."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(models_toml().replace("http://127.0.0.1:9/v1", base_url))
        file.flush()
        return load_registry(Path(file.name))


def context(
    database_url: str, base_url: str = "http://127.0.0.1:9/v1", *, name: str = "models-1@here", **changes: Any
) -> Context:
    """A worker process's context on a database, its models at `base_url`.

    Without a broker's address nobody listens there, and the limiter lets everything through.
    """
    given = {"broker_url": "redis://127.0.0.1:9/0", **changes}
    settings = Settings(_env_file=None, database_url=database_url, **given)
    return Context(settings, registry(base_url), Vault(SiteKey(new_site_key()), 30), name=name)


def submit(ctx: Context, lines: int | Iterable[bytes] = 1, **order: Any) -> uuid.UUID:
    """Accept so many of the examples (or these lines) for a fixed trio; the submission's id."""
    if isinstance(lines, int):
        examples = (ROOT / "examples" / "vignettes.ndjson").read_bytes().splitlines()
        lines = list(itertools.islice(itertools.cycle(examples), lines))
    asked = {"strategy": "FIXED", "models": TRIO, "purpose": "evaluation", **order}
    with ctx.transaction() as session:
        receipt = accept(
            session,
            read_ndjson(lines),
            Order(**asked),
            settings=ctx.settings,
            registry=ctx.registry,
            vault=ctx.vault,
        )
    assert receipt.accepted
    return receipt.submission_id


def rows(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of one statement (none if it returns none), committed."""
    with transaction(url) as session:
        done = session.connection().exec_driver_sql(statement, values)
        return [tuple(found) for found in done] if done.returns_rows else []


def ask(ctx: Context, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of one statement in a worker's database."""
    return rows(ctx.settings.require_database(), statement, *values)


def consultations_of(ctx: Context, submission: uuid.UUID) -> list[uuid.UUID]:
    """The submission's consultations in the order of its records."""
    rows = ask(
        ctx,
        "SELECT c.id FROM consultations c JOIN records r ON r.id = c.record_id "
        "WHERE c.submission_id = %s ORDER BY r.ordinal",
        submission,
    )
    return [id_ for (id_,) in rows]


def owed_by(ctx: Context, consultation: uuid.UUID, kind: str = "generation") -> list[uuid.UUID]:
    """The owed answers of a consultation, by seat; its reviews also by the seat they are about."""
    rows = ask(
        ctx,
        "SELECT o.id FROM owed_answers o LEFT JOIN generations g ON g.id = o.about "
        "WHERE o.consultation_id = %s AND o.kind = %s ORDER BY o.seat, g.seat, o.id",
        consultation,
        kind,
    )
    return [id_ for (id_,) in rows]


def one_owed(ctx: Context) -> uuid.UUID:
    """A generation that is owed, of a consultation of its own."""
    return owed_by(ctx, consultations_of(ctx, submit(ctx))[0])[0]


def claim(
    ctx: Context, owed_id: uuid.UUID, *, lease_s: float = 60, quarantine: bool = False, holder: str = ""
) -> Claim | None:
    """One claim in a transaction of its own."""
    with transaction(ctx.settings.require_database()) as session:
        return owed_answers.claim(
            session, owed_id, holder=holder or ctx.holder, lease_s=lease_s, quarantine=quarantine
        )


def document_of(ctx: Context, owed_id: uuid.UUID, kind: str, text: str) -> tuple[Look, dict[str, Any]]:
    """A sealed text of the owed answer's consultation, to be stored."""
    with transaction(ctx.settings.require_database()) as session:
        seen = owed_answers.look(session, owed_id)
        assert seen is not None
        key, _ = ctx.vault.open_record(session, seen.document_id)
    sealed = ctx.vault.sealed(key, kind, text, source_id=seen.source_id, consultation_id=seen.consultation_id)
    return seen, {**sealed, "retention_days": ctx.vault.retention_days}


def store_raw(
    ctx: Context, owed_id: uuid.UUID, claim: int, text: str = "{}", usage: Usage = PAID
) -> tuple[uuid.UUID, bool]:
    """The raw answer of a claim's call comes in; its document, and whether it is the claim's still."""
    seen, document = document_of(ctx, owed_id, "raw_answer", text)
    with ctx.statements() as session:
        stored = answers.store_raw(session, owed_id, claim, document, usage, model=seen.model)
    return document["id"], stored.ours


def settle(ctx: Context, owed_id: uuid.UUID, claim: int) -> bool:
    """An answer to the vignette is read and stored under a claim; whether it still was that claim's."""
    seen, document = document_of(ctx, owed_id, "recommendation", recommendation("aspirin"))
    read = answers.ReadGeneration("recommend", ["aspirin"], [])
    model = ctx.registry[seen.model]
    with ctx.statements() as session:
        return answers.settle(
            session,
            owed_id,
            claim,
            new_id(),
            read,
            document,
            raw_id=new_id(),
            latency_s=1.0,
            model=model,
            returned="m",
        )


def row(ctx: Context, owed_id: uuid.UUID) -> dict[str, Any]:
    """An owed answer as plain JSON."""
    [(found,)] = ask(ctx, "SELECT to_jsonb(o) FROM owed_answers o WHERE id = %s", owed_id)
    return dict(found)


def calls(ctx: Context, owed_id: uuid.UUID) -> list[tuple[Any, ...]]:
    """(claim, outcome, error kind, cost) of its calls, in order."""
    return ask(
        ctx,
        "SELECT claim, outcome, error_kind, cost_usd FROM model_calls "
        "WHERE owed_answer_id = %s ORDER BY claim",
        owed_id,
    )


def run_out(ctx: Context, owed_id: uuid.UUID) -> None:
    """The lease runs out, as time would have it."""
    ask(ctx, "UPDATE owed_answers SET claimed_until = now() - interval '1 ms' WHERE id = %s", owed_id)


def app_on(broker_url: str) -> Celery:
    """An application with our configuration on this broker, apart from the process's own."""
    app = Celery("apart", set_as_default=False)
    app.conf.update(celery_config(Settings(_env_file=None, broker_url=broker_url), 900))
    return app


@contextmanager
def sending(services: Services) -> Iterator[tuple[Celery, redis.Redis]]:
    """An application on the real broker and a client of it; nobody consumes, queues begin and end empty."""
    app, client = app_on(services.addresses.broker_url), redis.Redis.from_url(services.addresses.broker_url)
    client.delete(*QUEUES, WIPE_MARKER)
    yield app, client
    client.delete(*QUEUES, WIPE_MARKER)
    client.close()
    app.close()


def recommendation(*drugs: str, decision: str = "recommend", rationale: str = "First-line.") -> str:
    """A model's answer that starts these drugs, as JSON."""
    orders = [{"name": drug, "action": "start"} for drug in drugs]
    return json.dumps({"decision": decision, "medications": orders, "rationale": rationale})
