"""The operator's commands through their entry point, on a real database and broker."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import redis

from embedded.services import Services
from shared.broker import NUDGE_QUEUE
from tests.accepted import TRIO, models_toml, recommendation
from tests.producers import test_cli
from tests.producers.test_cli import Shell
from tests.stored import Stored

shell = test_cli.shell
closed_port = test_cli.closed_port
UNKNOWN = test_cli.UNKNOWN


@pytest.fixture
def stored(database_url: str, services: Services) -> Stored:
    """What lies in the database that the command line works on."""
    assert services.addresses.site_key
    return Stored(database_url, services.addresses.site_key)


class Nudges:
    """How many nudges have been sent since last asked."""

    def __init__(self, broker: redis.Redis) -> None:
        self._broker = broker

    def new(self) -> int:
        """As many; the queue is empty afterwards."""
        found = self._broker.llen(NUDGE_QUEUE)
        self._broker.delete(NUDGE_QUEUE)
        assert isinstance(found, int)
        return found


@pytest.fixture
def nudges(services: Services) -> Iterator[Nudges]:
    """The broker's queue of nudges, empty."""
    with redis.Redis.from_url(services.addresses.broker_url) as broker:
        made = Nudges(broker)
        made.new()
        yield made


def test_pause_and_resume(shell: Shell, stored: Stored, nudges: Nudges) -> None:
    """Of all, a source, a model: said, audited, nudged; twice is harmless and says so."""
    assert shell.here("pause").out == (
        "everything is paused: calls in flight end, nothing new begins\nnext: consilium resume\n"
    )
    assert "is paused already" in shell.here("pause").out
    assert "next: consilium resume --source local" in shell.here("pause", "--source", "local").out
    assert shell.rows("pause", "--model", TRIO[0]) == [{"scope": "model", "name": TRIO[0], "changed": True}]
    assert nudges.new() == 0
    assert f"still paused: source local, model {TRIO[0]}" in shell.here("resume").out
    assert nudges.new() == 1
    assert "everything is not paused: nothing to resume" in shell.here("resume").out
    assert nudges.new() == 0
    assert shell.here("resume", "--source", "local").code == 0
    assert "still" not in shell.here("resume", "--model", TRIO[0]).out
    assert [(what, which) for _, what, which in stored.audited()] == [
        ("pause", "all"),
        ("pause", "source local"),
        ("pause", f"model {TRIO[0]}"),
        ("resume", "all"),
        ("resume", "source local"),
        ("resume", f"model {TRIO[0]}"),
    ]
    assert stored.ask("SELECT count(*) FROM audit WHERE source_id IS NOT NULL") == [(2,)]


def test_a_model_that_is_gone_can_be_resumed(shell: Shell) -> None:
    """A pause outlives its model's place in models.toml, and can be lifted all the same."""
    shell.here("pause", "--model", TRIO[0])
    shell.file("models.toml", models_toml().replace(TRIO[0], "sim-other"))
    assert shell.here("resume", "--model", TRIO[0]).out.startswith(f"model {TRIO[0]} is resumed")


def test_failed(shell: Shell, stored: Stored, nudges: Nudges) -> None:
    """Listed, shown, requeued and discarded; what is asked of a program is the same."""
    assert shell.here("failed", "list").out == "no dead letters\n"
    assert "no dead letters" in shell.here("failed", "requeue", "--all").out
    submission, (a, b, c) = stored.submit(3)
    stored.answer(stored.owed(a)[0])
    stored.excuse(stored.owed(a)[1], "unavailable")
    stored.call(stored.owed(a)[1], 1, "0.5")
    stored.fail(a, b)
    stored.fail(c, reason="expired", ago="3 h")
    listed = shell.here("failed", "list").out
    assert f"{a}  {submission}  local   no_quorum" in listed
    assert "answered, unavailable, void" in listed
    assert "in all: 1 expired · 2 no_quorum" in listed
    rows = shell.rows("failed", "list", "--older-than", "2h")
    assert [row["consultation"] for row in rows] == [str(c)]
    assert "there are 1 expired, 2 no_quorum" in shell.here("failed", "list", "--reason", "no_progress").out

    shown = shell.here("failed", "show", str(a)).out
    assert f"next: consilium failed requeue {a}" in shown
    assert "chest pain" not in shown
    assert "503" in shown
    parts = shell.rows("failed", "show", str(a))
    assert [(o["seat"], o["model"], o["state"], o["reason"]) for o in parts["owed"]] == [
        (0, TRIO[0], "answered", None),
        (1, TRIO[1], "excused", "unavailable"),
        (2, TRIO[2], "void", None),
    ]
    assert [call["error_kind"] for call in parts["calls"]] == ["unavailable"]

    assert nudges.new() == 0
    done = shell.here("failed", "requeue", str(a), UNKNOWN)
    assert (done.code, done.out) == (8, "1 requeued\nnext: consilium status\n")
    assert done.err == f"consilium: no dead letter: {UNKNOWN}; see `consilium failed show` of each\n"
    assert nudges.new() == 1
    assert "is open, no dead letter" in shell.fails("failed", "show", str(a), code=8)
    done = shell.here("failed", "discard", "--older-than", "2h")
    assert done.out == "1 discarded: failed for good\nnext: consilium failed list\n"
    assert f"it was discarded; consilium status {submission}" in shell.here("failed", "show", str(c)).out
    assert shell.rows("failed", "requeue", "--all") == [{"requeued": 1, "left": 0}]
    assert shell.rows("failed", "discard", str(a), code=8) == [{"discarded": 0}]
    assert shell.rows("failed", "list") == []
    assert [(what, which) for _, what, which in stored.audited()] == [
        ("failed.requeue", str(a)),
        ("failed.discard", str(c)),
        ("failed.requeue", str(b)),
    ]


def test_the_list_for_a_person_is_short(shell: Shell, stored: Stored) -> None:
    """Fifty lines and how many more; a program gets all."""
    _, ids = stored.submit(52)
    stored.fail(*ids)
    assert "2 more · in all: 52 no_quorum" in shell.here("failed", "list").out
    assert len(shell.rows("failed", "list")) == 52


def test_budget(shell: Shell, stored: Stored, nudges: Nudges) -> None:
    """Set, raised and lifted, of a submission and a source; listed, and in the submission's status."""
    submission, ids = stored.submit(2)
    stored.ask("UPDATE consultations SET expected_usd = 1, held = 'budget'")
    said = shell.here("budget", str(submission), "0.5").out
    assert said == (
        f"submission {submission}: 0.5000 USD, spent 0.0000 USD; 2 wait as `held: budget`\n"
        "next: consilium budget\n"
    )
    assert nudges.new() == 1
    assert shell.here("budget", str(submission)).out == said
    assert nudges.new() == 0, "to look changes nothing"
    assert "budget 0.5000 USD · spent 0.0000 · expected for the rest 2.0000 · held for it 2" in (
        shell.here("status", str(submission)).out
    )
    assert "2 consultations that were held for it go on" in shell.here("budget", str(submission), "5").out
    assert stored.held(ids) == [None, None]
    listed = shell.rows("budget")
    assert [(row["scope"], row["name"]) for row in listed] == [("submission", str(submission))]
    assert float(listed[0]["budget_usd"]) == 5
    assert shell.rows("status", str(submission))["budgets"][0]["expected_usd"].startswith("2.0")
    assert "no cap" in shell.here("budget", str(submission), "none").out
    assert shell.rows("budget") == []
    assert "budget" not in shell.here("status", str(submission)).out

    stored.ask("UPDATE sources SET policy = jsonb_set(policy, '{deny}', '[\"sim-rowan-large\"]')")
    assert (
        "source local: 2.5000 USD a day, spent 0.0000 USD today"
        in shell.here("budget", "--source", "local", "2.5").out
    )
    assert "source local: 2.5000 USD a day, spent" in shell.here("budget", "--source", "local").out
    assert [(row["scope"], row["name"]) for row in shell.rows("budget")] == [("source", "local")]
    assert {what for _, what, _ in stored.audited()} == {"budget.submission", "budget.source"}
    assert stored.audited()[0][2] == f"{submission} 0.5000 USD"


def test_a_budget_needs_prices(shell: Shell, stored: Stored) -> None:
    """A model that may be drawn without a price is refused by its name, and nothing is stored."""
    record = test_cli.record("a")
    said = shell.fails("submit", "-", "--budget", "1", stdin=record, code=2)
    assert "price is not known (sim-rowan-large): give usd_per_mtok_in" in said
    assert shell.rows("status")["submissions"] == []
    drawn = ("--strategy", "FIXED", "--models", ",".join(TRIO))
    shell.here("submit", "-", "--budget", "0.75", *drawn, stdin=record)
    assert stored.ask("SELECT budget_usd::float FROM submissions") == [(0.75,)]
    assert stored.ask("SELECT expected_usd BETWEEN 0.01 AND 0.1 FROM consultations") == [(True,)]
    stored.ask("UPDATE sources SET daily_budget_usd = 1")
    assert "sim-rowan-large" in shell.fails("submit", "-", stdin=test_cli.record("b"), code=2)
    assert "sim-rowan-large" in shell.fails("budget", "--source", "local", "2", code=2)
    stored.ask("UPDATE consultations SET expected_usd = NULL")
    [(submission,)] = stored.ask("SELECT id FROM submissions")
    assert "1 open consultations were accepted while a price" in shell.fails(
        "budget", str(submission), "2", code=2
    )


def test_what_it_will_cost_is_stored(shell: Shell, stored: Stored) -> None:
    """With every consultation: free models cost 0, and one without a price makes it unknown, not 0."""
    for names in ("sim-alder-small,sim-birch-small", "sim-alder-small,sim-rowan-large"):
        record = test_cli.record(names)
        shell.here("submit", "-", "--strategy", "FIXED", "--models", names, stdin=record)
    assert stored.ask("SELECT expected_usd FROM consultations ORDER BY accepted_at") == [(0,), (None,)]


def test_models_set(shell: Shell, stored: Stored) -> None:
    """An operator's limit stands before that of models.toml, until `none`; breaker and pause are shown."""
    said = shell.here("models", "set", TRIO[0], "--max-in-flight", "4", "--requests-per-minute", "60").out
    assert f"max_in_flight=4 requests_per_minute=60 for {TRIO[0]}: in force" in said
    stored.ask(
        "UPDATE model_states SET opened_at = '2026-11-21 05:00Z', probe_at = now() + interval '1 h', "
        "in_flight = 3, learned_limit = 3.5 WHERE name = %s",
        TRIO[0],
    )
    shell.here("pause", "--model", TRIO[1])
    rows = {row["name"]: row for row in shell.rows("models")}
    first = rows[TRIO[0]]
    assert (first["max_in_flight"], first["requests_per_minute"], first["tokens_per_minute"]) == (4, 60, None)
    assert (first["in_flight"], first["learned_limit"], first["breaker"]) == (
        3,
        3.5,
        "open since 2026-11-21 05:00:00Z",
    )
    assert first["set_by_operator"] == ["max_in_flight", "requests_per_minute"]
    assert [rows[name]["paused"] for name in TRIO] == [False, True, False]
    assert rows[TRIO[1]]["breaker"] == "closed"
    stored.ask("UPDATE model_states SET probe_at = now()")
    assert "half-open since 2026-11-21 05:00:00Z" in shell.here("models").out
    [row] = shell.rows("models", "set", TRIO[0], "--max-in-flight", "none")
    assert (row["max_in_flight"], row["requests_per_minute"]) == (None, 60)
    assert [(what, which) for _, what, which in stored.audited() if what == "models.set"] == [
        ("models.set", f"max_in_flight=4 requests_per_minute=60 {TRIO[0]}"),
        ("models.set", f"max_in_flight=none {TRIO[0]}"),
    ]


def test_models_before_anything_runs(shell: Shell) -> None:
    """A models.toml can be looked at without a database."""
    assert len(shell.here("models", unset="CONSILIUM_DATABASE_URL").out.splitlines()) == 1 + 12


def test_workers(shell: Shell, stored: Stored) -> None:
    """Running, silent and stopped; those that stopped are shown when asked for."""
    assert "no worker runs" in shell.here("workers").out
    for name, seen, stopped in (("a@x", "1 s", None), ("b@x", "31 s", None), ("c@x", "1 h", "1 h")):
        stored.ask(
            "INSERT INTO workers (name, boot_id, pid, queues, slots, seen_at, consumed_at, stopped_at) "
            "VALUES (%s, %s, 7, '{remote,local}', 32, now() - %s::interval, now() - interval '90 s', "
            "now() - %s::interval)",
            *(name, uuid.uuid4(), seen, stopped),
        )
    rows = shell.rows("workers")
    assert [(row["name"], row["state"], row["slots"]) for row in rows] == [
        ("a@x", "running", 32),
        ("b@x", "silent", 32),
    ]
    assert rows[0]["queues"] == ["remote", "local"]
    assert [row["state"] for row in shell.rows("workers", "--all")] == ["running", "silent", "stopped"]
    assert re.match(
        r"a@x +running +7 +remote, local +32 .* \d+ s ago +\d+ s ago",
        shell.here("workers").out.splitlines()[1],
    )


def test_reparse(shell: Shell, stored: Stored, nudges: Nudges) -> None:
    """What the present reader can read is put back, the rest stays; nobody is asked."""
    submission, (good, bad, erased) = stored.submit(3)
    for id_, raw in ((good, recommendation("aspirin")), (bad, "not one word of JSON"), (erased, "{}")):
        stored.answer(stored.owed(id_)[0])
        stored.excuse(stored.owed(id_)[1], "malformed", raw=raw)
        stored.excuse(stored.owed(id_)[2], "refused")
    stored.ask(
        "DELETE FROM data_keys WHERE id = (SELECT d.key_id FROM clinical_documents d "
        "JOIN consultations c ON c.document_id = d.id WHERE c.id = %s)",
        erased,
    )
    stored.fail(good, bad, erased)
    assert shell.here("reparse", "--submission", str(submission)).out == (
        "0 held as unread are read again now\n"
        "3 excused as malformed looked at, 1 readable now, 1 put back\nnext: consilium status\n"
    )
    assert nudges.new() == 1
    assert stored.states(good) == ["answered", "owed", "excused"]
    assert [stored.row("consultations", id_)["state"] for id_ in (bad, erased)] == ["failed", "failed"]
    assert shell.rows("reparse") == [
        {"due_now": 0, "looked_at": 2, "readable": 0, "put_back": 0, "not_enough": 0}
    ]
    assert nudges.new() == 0


WRONG = [
    ("pause --source ward", 8, "no source named 'ward': there are local"),
    ("pause --model sim-alder-larg", 8, "did you mean sim-alder-large"),
    ("resume --source loca", 8, "did you mean local?"),
    ("pause --source local --model sim-alder-large", 2, "give one at a time"),
    ("failed requeue", 2, "say which: ids, --submission, --reason, an age, or --all alone"),
    ("failed discard", 2, "say which"),
    ("failed discard --all --reason expired", 2, "--all alone"),
    ("failed list --older-than soon", 2, "--older-than is an age such as 90s, 15m, 2h or 3d"),
    (f"failed show {UNKNOWN}", 8, "see `consilium failed list`"),
    ("budget 5", 2, "say `consilium budget SUBMISSION AMOUNT`"),
    (f"budget {UNKNOWN} 5", 8, "see `consilium status`"),
    (f"budget {UNKNOWN} much", 2, "AMOUNT is an amount in USD such as 12.50"),
    ("budget mine 5", 2, "SUBMISSION is an id"),
    ("budget --source ward none", 8, "there are local"),
    ("submit - --budget=-1", 2, "--budget is an amount in USD"),
    ("submit - --budget nan", 2, "--budget is an amount in USD"),
    ("models set sim-alder-large", 2, "say what to set"),
    ("models set sim-alder-large --max-in-flight 0", 2, "--max-in-flight is a whole number from 1"),
    ("models set alder --max-in-flight 1", 8, "no model named 'alder' in models.toml"),
    (f"reparse --submission {UNKNOWN}", 8, "see `consilium status`"),
]


def test_what_went_wrong(shell: Shell, stored: Stored) -> None:
    """One sentence each, with what there is or what to type; nothing has changed."""
    for words, code, said in WRONG:
        assert said in shell.fails(*words.split(), code=code, stdin=test_cli.record("a")), words
    assert stored.audited() == []
    with psycopg.connect(stored.url) as connection:
        for table in ("pauses", "model_states", "submissions"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_the_broker_may_be_away(shell: Shell, stored: Stored, closed_port: int) -> None:
    """What was decided is stored, and the command says when it takes effect."""
    away = {"CONSILIUM_BROKER_URL": f"redis://127.0.0.1:{closed_port}/0"}
    shell.here("pause")
    done = shell.here("resume", **away)
    assert (done.code, done.err) == (
        0,
        "the broker is away: all is stored, and takes effect when it is back\n",
    )
    assert stored.ask("SELECT count(*) FROM pauses") == [(0,)]


def test_as_a_process(shell: Shell, stored: Stored) -> None:
    """The installed command does the same."""
    _, (a,) = stored.submit()
    stored.fail(a)
    assert shell("failed", "requeue", "--all") == "1 requeued\nnext: consilium status\n"
