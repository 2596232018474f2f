"""`consilium doctor`: it finds what is wrong, finds nothing where nothing is, and tells nobody's text."""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import typer
from sqlalchemy import text
from typer.testing import CliRunner

from db.engine import transaction
from embedded.services import Services
from producers.cli.doctor import doctor
from producers.doctor import Groups, examine
from producers.doctor.data import data
from producers.health import Check
from shared.broker import QUEUES
from shared.settings import Settings, get_settings
from tests.accepted import TRIO, ask, claim, consultations_of, context, models_toml, owed_by, submit
from workers.context import Context


@pytest.fixture
def ctx(database_url: str, services: Services, tmp_path: Path) -> Iterator[Context]:
    """A site that works: one submission completed, one waiting; heartbeats and a worker; no message left."""
    (tmp_path / "models.toml").write_text(models_toml(), encoding="utf-8")
    made = context(
        database_url,
        broker_url=services.addresses.broker_url,
        models_file=tmp_path / "models.toml",
        home=tmp_path,
    )
    [done] = consultations_of(made, submit(made))
    complete(made, done)
    submit(made, 2)
    ask(made, "INSERT INTO heartbeats (queue) SELECT unnest(%s::text[])", list(QUEUES))
    ask(
        made,
        "INSERT INTO workers (name, boot_id, pid, queues) VALUES ('all@x', gen_random_uuid(), 1, %s)",
        list(QUEUES),
    )
    with redis.Redis.from_url(services.addresses.broker_url) as broker:
        broker.delete(*QUEUES)
        yield made
        broker.delete(*QUEUES)


def complete(ctx: Context, consultation: uuid.UUID) -> None:
    """As the workers leave a completed consultation (without its reviews)."""
    for owed in owed_by(ctx, consultation):
        assert claim(ctx, owed)
    for statement in (
        "UPDATE model_calls SET outcome = 'answered', ended_at = clock_timestamp(), cost_usd = 0.01",
        "INSERT INTO generations (id, source_id, consultation_id, owed_answer_id, seat, occupancy, "
        "model_version_id, raw_document_id, document_id, decision) SELECT gen_random_uuid(), source_id, "
        "consultation_id, id, seat, occupancy, model_version_id, gen_random_uuid(), gen_random_uuid(), "
        "'no_medication' FROM owed_answers WHERE consultation_id = %(id)s",
        "UPDATE owed_answers o SET state = 'answered', answer_id = g.id, claimed_until = NULL "
        "FROM generations g WHERE g.owed_answer_id = o.id AND o.consultation_id = %(id)s",
        "UPDATE consultations SET state = 'completed', stage = 'ended', ended_at = now(), spent_usd = 0.03 "
        "WHERE id = %(id)s",
        "INSERT INTO consensus (consultation_id, source_id, form, snapshot_id, support, detail) "
        "SELECT id, source_id, 'reference', reviewers_snapshot_id, '{}', '{}' FROM consultations "
        "WHERE id = %(id)s",
        "INSERT INTO outbox_events (source_id, submission_id, consultation_id, type) "
        "SELECT source_id, submission_id, id, 'consultation.completed' FROM consultations WHERE id = %(id)s",
        "UPDATE submissions SET state = 'finished', finished_at = now() "
        "WHERE id = (SELECT submission_id FROM consultations WHERE id = %(id)s)",
    ):
        with transaction(ctx.settings.require_database()) as session:
            session.connection().exec_driver_sql(statement, {"id": consultation})


def bad(checks: list[Check]) -> dict[str, str]:
    """What is not ok, by name; one of the panel's models has no price on purpose."""
    return {check.name: check.level for check in checks if check.level != "ok" and check.name != "prices"}


def all_bad(groups: Groups) -> dict[str, str]:
    """The same over all groups."""
    return {name: level for checks in groups.values() for name, level in bad(checks).items()}


def told(groups: Groups, name: str) -> str:
    """What one check tells."""
    return next(check.told for checks in groups.values() for check in checks if check.name == name)


def test_nothing_is_wrong(ctx: Context) -> None:
    """On a site that works there is no problem, and the numbers are printed."""
    groups = examine(ctx.settings)
    assert list(groups) == ["services", "settings", "models", "work", "data"]
    assert all_bad(groups) == {}
    assert told(groups, "lease") == "longest 270 s = deadline 180 + hold 60 + slack 30"
    assert told(groups, "redelivery") == "after 660 s, longer than countdown 120 + longest lease 270"
    assert told(groups, "looked at") == "2 submissions received within 7 days, or open"
    assert len(groups["data"]) == 10


BREAKS = [
    ("UPDATE submissions SET records = records + 1", "accepted records are consultations"),
    ("DELETE FROM consensus", "a consensus where concluded, and only there"),
    (
        "INSERT INTO consensus (consultation_id, source_id, form, snapshot_id, support, detail) "
        "SELECT id, source_id, 'x', reviewers_snapshot_id, '{}', '{}' FROM consultations "
        "WHERE state = 'open' LIMIT 1",
        "a consensus where concluded, and only there",
    ),
    ("DELETE FROM outbox_events", "one event for each end"),
    (
        "INSERT INTO outbox_events (source_id, submission_id, consultation_id, type) SELECT source_id, "
        "submission_id, consultation_id, 'consultation.failed' FROM outbox_events LIMIT 1",
        "one event for each end",
    ),
    (
        "UPDATE owed_answers SET state = 'owed', answer_id = NULL WHERE state = 'answered'",
        "nothing is owed after the end",
    ),
    (
        "UPDATE owed_answers SET answer_id = gen_random_uuid() WHERE state = 'answered'",
        "what is answered has its answer",
    ),
    (
        "UPDATE submissions SET state = 'finished', finished_at = now() WHERE state = 'open'",
        "nothing is open in what is finished",
    ),
    ("UPDATE consultations SET spent_usd = spent_usd + 1", "spent is the sum of the known costs"),
    (
        "INSERT INTO model_calls (owed_answer_id, source_id, claim, model_version_id, outcome, ended_at) "
        "SELECT owed_answer_id, source_id, 2, model_version_id, 'answered', clock_timestamp() "
        "FROM model_calls LIMIT 1",
        "no answer is paid twice",
    ),
    (
        "UPDATE model_calls SET outcome = NULL, ended_at = NULL, started_at = now() - interval '1 day'",
        "an open call has its claim",
    ),
]
"""A statement that breaks an invariant, and the invariant."""


def test_each_invariant_is_seen_broken(ctx: Context) -> None:
    """One statement breaks one invariant, and it alone is told, as a bug of ours."""
    for broken, invariant in BREAKS:
        with ctx.transaction() as session:
            session.execute(text(broken))
            checks = data(session, ctx.settings, ctx.registry, 7)
            session.rollback()
        assert bad(checks) == {invariant: "problem"}
        assert all("a bug of ours" in check.told for check in checks if check.level != "ok")
    assert {name for _, name in BREAKS} == {check.name for check in checks} - {"looked at"}


def test_an_open_call_may_outlast_what_it_was_for(ctx: Context) -> None:
    """A call in flight is its claim's; one for an answer given up meanwhile has as long as a lease."""
    with ctx.transaction() as session:
        session.execute(text("UPDATE model_calls SET outcome = NULL, ended_at = NULL"))
        assert bad(data(session, ctx.settings, ctx.registry, 7)) == {}
        session.rollback()
    waiting = owed_by(ctx, consultations_of(ctx, submit(ctx))[0])
    assert claim(ctx, waiting[0])
    ask(ctx, "UPDATE model_calls SET started_at = now() - interval '1 day' WHERE outcome IS NULL")
    assert bad(examine(ctx.settings)["data"]) == {}


def test_the_span_of_days(ctx: Context) -> None:
    """What came before it and is finished is not looked at; what is open always is."""
    ask(ctx, "UPDATE submissions SET received_at = now() - interval '9 days'")
    ask(ctx, "DELETE FROM consensus")
    groups = examine(ctx.settings)
    assert bad(groups["data"]) == {}
    assert told(groups, "looked at").startswith("1 submissions")
    assert len(bad(examine(ctx.settings, days=None)["data"])) == 1


def test_work_that_does_not_go_on(ctx: Context) -> None:
    """Stuck, held, left and failed work, each told with what to do."""
    stuck, held = (consultations_of(ctx, submit(ctx))[0] for _ in range(2))
    ask(
        ctx,
        "UPDATE consultations SET dispatched_at = now() - interval '1 day', stage = 'generating', "
        "progressed_at = now() - interval '1 day' WHERE id = %s",
        stuck,
    )
    ask(ctx, "UPDATE consultations SET held = 'budget' WHERE id = %s", held)
    left, live = owed_by(ctx, held)[:2]
    assert claim(ctx, left)
    ask(ctx, "UPDATE owed_answers SET claimed_until = now() - interval '1 day' WHERE id = %s", left)
    assert claim(ctx, live)
    failed = consultations_of(ctx, submit(ctx))[0]
    ask(
        ctx,
        "UPDATE consultations SET state = 'failed', reason = 'expired', stage = 'ended', ended_at = now() "
        "WHERE id = %s",
        failed,
    )
    ask(ctx, "UPDATE owed_answers SET state = 'void' WHERE consultation_id = %s", failed)
    ask(ctx, "INSERT INTO parked_messages (task, version) VALUES ('consilium.answer', 9)")
    ask(ctx, "DELETE FROM heartbeats WHERE queue = 'conclude'")
    ask(
        ctx,
        "INSERT INTO destinations (id, source_id, kind, url, disabled_at, disabled_reason) "
        "SELECT gen_random_uuid(), id, 'webhook', 'https://x', now(), 'HTTP 410' FROM sources",
    )
    groups = examine(ctx.settings)
    assert bad(groups["work"]) == {
        "sweep": "problem",
        "stalled": "warning",
        "held": "warning",
        "leases run out": "warning",
        "leases of stopped workers": "warning",
        "dead letters": "warning",
        "parked messages": "warning",
        "events": "warning",
    }
    assert told(groups, "stalled").startswith(f"1: {stuck} for 864")
    assert "consilium budget" in told(groups, "held")
    assert told(groups, "dead letters") == "1 expired: `consilium failed list`"
    ask(
        ctx,
        "UPDATE owed_answers SET holder = w.name || ' ' || w.boot_id FROM workers w "
        "WHERE claimed_until > now()",
    )
    assert "leases of stopped workers" not in bad(examine(ctx.settings)["work"])
    ask(ctx, "UPDATE workers SET stopped_at = now()")
    assert "leases of stopped workers" in bad(examine(ctx.settings)["work"])


def test_settings_that_do_not_fit(ctx: Context) -> None:
    """A redelivery time too short and heartbeats stale too soon are problems, with the numbers."""
    wrong = ctx.settings.model_copy(update={"visibility_s": 100.0, "heartbeat_stale_s": 30.0})
    groups = examine(wrong)
    assert bad(groups["settings"]) == {"redelivery": "problem", "heartbeat": "problem"}
    assert "CONSILIUM_VISIBILITY_S is 100" in told(groups, "redelivery")
    assert "twice CONSILIUM_SWEEP_EVERY_S" in told(groups, "heartbeat")


def test_models(ctx: Context, tmp_path: Path) -> None:
    """Keys by name only, prices, breakers, pauses; a models.toml that cannot be read is told by its line."""
    ask(
        ctx,
        "INSERT INTO model_states (name, opened_at, probe_at, waits_until) VALUES "
        "(%s, now(), now(), now() + interval '1 h')",
        TRIO[0],
    )
    ask(ctx, "INSERT INTO pauses (scope, name) VALUES ('model', %s), ('source', 'PLANTED')", TRIO[1])
    real = (
        '\n[models.real]\nprovider = "x"\nprotocol = "openai"\nlocation = "remote"\nfamily = "x"\n'
        'base_url = "http://127.0.0.1:9/v1"\nkey_env = "CONSILIUM_TEST_KEY"\n'
    )
    (tmp_path / "models.toml").write_text(models_toml() + real, encoding="utf-8")
    groups = examine(ctx.settings)
    assert bad(groups["models"]) == {
        "breakers": "warning",
        "paused models": "warning",
        "paused otherwise": "warning",
    }
    assert told(groups, "prices").endswith(", real: their cost is not known: set usd_per_mtok_in and _out")
    assert "CONSILIUM_TEST_KEY is not set here" in told(groups, "keys")
    assert "only workers need it" in told(groups, "keys")
    assert told(groups, "paused otherwise") == ("a source: `consilium resume --source NAME` lets it go on")
    assert "PLANTED" not in repr(groups)
    (tmp_path / "models.toml").write_text("[models.x]\nkey = 'SECRET'\n", encoding="utf-8")
    groups = examine(ctx.settings)
    assert bad(groups["models"]) == {"models.toml": "problem"}
    assert "SECRET" not in repr(groups)


def test_servers_away(ctx: Context, empty_database_url: str) -> None:
    """What is away is a problem, and the rest is told."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        broker, database = f"redis://:SECRET@{nobody}/0", f"postgresql://u:SECRET@{nobody}/x"
        gone = Settings(_env_file=None, broker_url=broker, database_url=database)
        groups = examine(ctx.settings.model_copy(update={"broker_url": gone.broker_url}))
        assert all_bad(groups) == {"broker": "problem"}
        assert bad(groups["data"]) == {}
        groups = examine(ctx.settings.model_copy(update={"database_url": gone.database_url}))
        assert all_bad(groups) == {"postgresql": "problem"}
        assert "SECRET" not in repr(groups)
    empty = Settings(_env_file=None, database_url=empty_database_url).database_url
    groups = examine(ctx.settings.model_copy(update={"database_url": empty}))
    assert all_bad(groups) == {"migrations": "problem"}


def test_a_question_that_takes_too_long(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no outage: it says to ask about less."""
    monkeypatch.setattr("producers.doctor.STATEMENT_S", 1)
    with transaction(ctx.settings.require_database()) as session:
        session.execute(text("LOCK TABLE consensus"))
        groups = examine(ctx.settings)
    assert all_bad(groups) == {"looked at": "warning"}
    assert "--days" in told(groups, "looked at")


def test_the_command(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups, one line a check, for people; rows for programs; the exit code; no text and no source."""
    ask(ctx, "UPDATE sources SET name = 'PLANTED-ward'")
    submit(
        ctx,
        [b'{"id": "PLANTED-id", "vignette": "A woman of forty has PLANTED disease and needs a drug."}'],
        source="PLANTED-ward",
    )
    monkeypatch.setenv("CONSILIUM_HOME", str(ctx.settings.home))
    for name in ("database_url", "broker_url"):
        monkeypatch.setenv(f"CONSILIUM_{name.upper()}", getattr(ctx.settings, f"require_{name[:-4]}")())
    monkeypatch.setenv("CONSILIUM_MODELS_FILE", str(ctx.settings.models_file))
    get_settings.cache_clear()
    app = typer.Typer()
    app.command()(doctor)
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 0, done.stdout
    assert re.search(r"^services\nok {6}postgresql: \d+", done.stdout, re.MULTILINE)
    ask(ctx, "DELETE FROM consensus")
    done = CliRunner().invoke(app, ["--format", "json"])
    assert done.exit_code == 1
    assert [row["name"] for row in json.loads(done.stdout) if row["level"] == "problem"] == [
        "a consensus where concluded, and only there"
    ]
    assert "PLANTED" not in CliRunner().invoke(app, ["--days", "0"]).stdout + done.stdout
    get_settings.cache_clear()
