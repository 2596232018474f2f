"""`consilium watch`: lines, the live view, numbers, and a database that goes away."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import text

from db.engine import transaction
from db.queries import progress
from db.queries.events import CHANNEL
from db.queries.progress import Batch, ModelCalls, Work
from embedded.services import Services
from producers.cli.watch import Watched, all_open, follow
from producers.progress import ENDS, STAGES, Progress, look
from shared.settings import get_settings
from tests.accepted import TRIO
from tests.producers import test_cli
from tests.producers.test_cli import COMMAND, UNKNOWN, Shell
from tests.stored import Stored

shell = test_cli.shell


@pytest.fixture
def stored(database_url: str, services: Services) -> Stored:
    """What lies in the database that the command line works on."""
    return Stored(database_url, services.addresses.site_key)


@contextmanager
def watching(*words: str) -> Iterator[subprocess.Popen[str]]:
    """The installed command at work, piped; it must have ended by itself."""
    with subprocess.Popen(
        [COMMAND, "watch", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
            process.wait(timeout=30)
        finally:
            process.kill()


def read(process: subprocess.Popen[str]) -> str:
    """Its next line of output."""
    assert process.stdout is not None
    return process.stdout.readline()


def told(process: subprocess.Popen[str]) -> str:
    """Its next line of standard error."""
    assert process.stderr is not None
    return process.stderr.readline()


def tell(stored: Stored) -> None:
    """Something has happened: an event, as the workers send it."""
    stored.ask(f"NOTIFY {CHANNEL}, 'test'")


def test_lines_until_the_end(shell: Shell, stored: Stored, services: Services) -> None:
    """At once, at each tenth, and when all has ended; PostgreSQL is away in between, which is said."""
    submission, ids = stored.submit(10)
    database = stored.url.rsplit("/", 1)[1]
    with watching(str(submission), "--every", "600") as process:
        assert read(process) == (
            "0 of 10 ended (0 %) · open: 10 waiting · end not known: nothing has ended yet · "
            "spent 0.0000 USD, projected not known\n"
        )
        stored.fail(*ids[:4])
        tell(stored)
        line = read(process)
        assert line.startswith("4 of 10 ended (40 %) · 4 failed · open: 6 waiting · ")
        assert re.search(r" · [\d.]+ a minute · end in about \d+:\d\d, at \d\d:\d\d:\d\d · ", line)
        with psycopg.connect(services.addresses.database_url, autocommit=True) as other:
            other.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
            )
            assert told(process).startswith("PostgreSQL cannot be reached; waiting for it.")
            other.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        assert told(process) == "PostgreSQL is back\n"
        stored.fail(*ids[4:])
        tell(stored)
        last = read(process)
    assert re.fullmatch(
        r"finished after 0:\d\d: 10 of 10 ended \(100 %\) · 10 failed · spent 0\.0000 USD · calls: none · "
        r"for a person: 10 failed: no quorum\n",
        last,
    )
    assert process.returncode == 0


def test_ctrl_c_leaves_the_work_going(
    shell: Shell, stored: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and its exit code is that of Ctrl-C; what came meanwhile was watched too."""
    get_settings.cache_clear()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    stored.submit(2)
    ids = all_open()
    looks = 0

    def then_ctrl_c() -> set[uuid.UUID]:
        nonlocal looks
        looks += 1
        if looks == 3:
            signal.raise_signal(signal.SIGINT)
        found = ids()
        stored.submit(1)
        return found

    with pytest.raises(typer.Exit) as ended:
        follow(then_ctrl_c, every_s=0.1, format_=Watched.json)
    signal.signal(signal.SIGINT, before)
    done = capsys.readouterr()
    assert [json.loads(line)["waiting"] for line in done.out.splitlines()] == [2, 3]
    assert done.err == "no longer watching; the work goes on: consilium status\n"
    assert ended.value.exit_code == 130


def test_ends_and_codes(shell: Shell, stored: Stored) -> None:
    """Nothing open, a finished one, records set aside; for programs one object a line."""
    assert shell.here("watch").out.startswith("nothing is open: consilium submit")
    submission, ids = stored.submit(2)
    stored.fail(*ids)
    assert "2 of 2 ended (100 %)" in shell.here("watch", str(submission)).out
    stored.ask("UPDATE submissions SET records = 3, set_aside = 1")
    done = shell.here("watch", str(submission), "--format", "json")
    found = json.loads(done.out)
    assert done.code == 6
    assert (found["finished"], found["failed"], found["for_a_person"]) == (True, 2, {"failed: no_quorum": 2})
    assert found["submissions"][0]["set_aside"] == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("watch", UNKNOWN), 8, "no submission"),
        (("watch", "--source", "loca"), 8, "did you mean local"),
        (("watch", UNKNOWN, "--source", "local"), 2, "give one of SUBMISSION and --source"),
    ],
)
def test_wrong_words(shell: Shell, words: tuple[str, ...], code: int, said: str) -> None:
    """What does not exist is said with what does."""
    assert said in shell.fails(*words, code=code)


def test_no_database(shell: Shell) -> None:
    """At the start it must be there."""
    away = "postgresql://nobody@127.0.0.1:9/none"
    done = shell.here("watch", CONSILIUM_DATABASE_URL=away)
    assert (done.code, done.out) == (7, "")
    assert "PostgreSQL cannot be reached" in done.err


def test_numbers_of_the_database(stored: Stored) -> None:
    """Held and why, per model: in flight, answered, failed, limited, retried, median; costs as they are."""
    submission, (a, b, c) = stored.submit(3)
    other, _ = stored.submit(1)
    with transaction(stored.url) as session:
        assert set(progress.open_submissions(session)) == {submission, other}
        assert look(session, [submission]).spent_usd == 0
    stored.dispatch(a)
    stored.ask("UPDATE consultations SET held = 'budget' WHERE id = %s", b)
    stored.ask("INSERT INTO pauses (scope, name) VALUES ('source', 'local'), ('model', %s)", TRIO[2])
    first, second, _ = stored.owed(a)
    stored.call(first, 1, None)
    with transaction(stored.url) as session:
        unknown = look(session, [submission])
    assert (unknown.spent_usd, unknown.projected_usd, unknown.unpriced) == (None, None, 1)
    stored.call(first, 2, "0.5", ago="4 s")
    stored.ask("UPDATE model_calls SET outcome = 'answered', error_kind = NULL WHERE claim = 2")
    stored.call(second, 1, None)
    stored.ask("UPDATE model_calls SET outcome = NULL, ended_at = NULL WHERE owed_answer_id = %s", second)
    stored.ask("UPDATE owed_answers SET claimed_until = now() + interval '1 min' WHERE id = %s", second)
    stored.ask(
        "INSERT INTO model_states (name, opened_at, probe_at) VALUES (%s, now(), now() + interval '1 min')",
        TRIO[0],
    )
    stored.fail(c, reason="expired")
    with transaction(stored.url) as session:
        found = look(session, [submission])
        same = look(session, [submission], found.calls)
    assert same.calls is found.calls
    assert found.held == {"budget": 1}
    counts = {name: n for name, n in found.counts.items() if n}
    assert counts == {"generating": 1, "waiting": 1, "failed": 1, "held": 1}
    assert found.failures == {"failed: expired": 1}
    assert (found.spent_usd, found.projected_usd, found.unpriced) == (Decimal("0.5"), Decimal("0.5"), 1)
    assert found.left_s is None
    one, two = found.calls
    assert (one.model, one.answered, one.failed, one.retries, one.why) == (TRIO[0], 1, 1, 1, "away")
    assert one.median_s == pytest.approx(4, abs=1)
    assert one.for_s
    assert (two.in_flight, two.answered, two.failed, two.unpriced) == (1, 0, 0, 0)
    stored.ask("UPDATE consultations SET held = NULL")
    with transaction(stored.url) as session:
        assert look(session, [submission]).held == {"paused": 1}


def test_every_step_has_its_index(stored: Stored) -> None:
    """No statement has to read a whole table of work to count one submission's."""
    with transaction(stored.url) as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        asked = {"ids": [uuid.UUID(UNKNOWN)], "lately_s": 60, "stale_s": 60}
        for statement in (progress.WORK, progress.CALLS, progress.BATCHES):
            plan = session.execute(text(f"EXPLAIN {statement.text}"), asked).scalars().all()
            assert any("consultations__submission" in step or "submissions" in step for step in plan)
            assert not re.search(
                r"Seq Scan on (consultations|owed_answers|model_calls|submissions)", str(plan)
            )


def test_the_live_view(shell: Shell, stored: Stored) -> None:
    """On a terminal: stages, reasons and models, in one frame that ends as it was last."""
    get_settings.cache_clear()
    submission, ids = stored.submit(2)
    stored.call(stored.owed(ids[0])[0], 1, "0.25")
    stored.fail(*ids)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=40, color_system=None)
    assert follow(lambda: {submission}, console=console).ended == 2
    shown = " ".join(file.getvalue().split())
    for part in (
        f"submission {submission} local · care · FIXED 3 · finished",
        "2 of 2 ended (100 %)",
        "ended completed 0 needs review 0 failed 2 cancelled 0",
        "for a person 2 failed: no quorum",
        "cost spent 0.2500 USD",
        f"{TRIO[0]} 0 0 1",
    ):
        assert part in shown


def test_to_wait_behind_others_is_not_to_be_slow(stored: Stored) -> None:
    """The rate, and so the estimated end, counts from the first dispatch."""
    submission, (first, _) = stored.submit(2)
    stored.ask("UPDATE submissions SET received_at = now() - interval '4 min'")
    stored.ask(
        "UPDATE consultations SET dispatched_at = now() - interval '30 s', held = NULL, ended_at = NULL"
    )
    stored.ask("UPDATE consultations SET state = 'completed', ended_at = now() WHERE id = %s", first)
    with transaction(stored.url) as session:
        found = look(session, [submission])
    assert found.per_minute_lately == pytest.approx(2, rel=0.2)
    assert found.left_s == pytest.approx(30, rel=0.2)


_usd = st.decimals(0, 10, places=4)
_work = st.builds(
    lambda state, stage, held, n, lately, usd: Work(
        state,
        "ended" if state != "open" else stage,
        None,
        held if state == "open" else None,
        n,
        min(lately, n) if state != "open" else 0,
        usd,
    ),
    st.sampled_from(("open", *ENDS)),
    st.sampled_from(STAGES),
    st.sampled_from((None, "budget")),
    st.integers(1, 9),
    st.integers(0, 9),
    _usd,
)
_calls = st.builds(ModelCalls, st.just("m"), *[st.integers(0, 5)] * 7, st.none())


@given(st.lists(_work, max_size=8), st.lists(_calls, max_size=2), st.floats(0, 1e5), st.booleans())
def test_they_add_up(work: list[Work], calls: list[ModelCalls], age_s: float, open_: bool) -> None:
    """Counts sum to the total; a projection is never below what is spent; what is not known is None."""
    state = "open" if open_ else "finished"
    batch = Batch(uuid.uuid4(), "s", state, "care", "RANDOM", 3, 1, 0, None, datetime.now(UTC), age_s)
    found = Progress([batch], work, calls)
    assert sum(found.counts[name] for name in (*STAGES, *ENDS)) == found.total
    assert 0 <= found.share <= 1
    assert found.counts["held"] == sum(found.held.values())
    if found.projected_usd is not None:
        assert found.spent_usd is not None
        assert found.projected_usd >= found.spent_usd
    assert (found.spent_usd is None) == (found.unpriced > 0 and not any(c.priced for c in calls))
    known = found.left_s is not None
    assert known == (not open_ or (not found.held and bool(found.per_minute_lately)))
    json.dumps(found.for_programs())
