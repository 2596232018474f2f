"""`consilium replay`: the stored rows bit for bit, also after a purge; what other settings would change."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from celery import Celery
from typer.testing import CliRunner

from db.queries import snapshots
from producers.cli.replay import replay
from shared.memory import RawReview, estimate
from shared.settings import get_settings
from tests.accepted import ask, submit
from tests.producers.concluded import conclude, graded
from tests.workers.chat_server import Server
from workers.context import Context

LISTS = (
    (("amoxicillin",), ("amoxicillin", "ibuprofen"), ("doxycycline", "ibuprofen")),
    (("metformin",), ("metformin",), ("metformin",)),
    ((), ("amoxicillin",), ("ibuprofen",)),
)


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run the command on the test's database; what it prints."""
    monkeypatch.setenv("CONSILIUM_DATABASE_URL", database_url)
    get_settings.cache_clear()
    command = typer.Typer()
    command.command()(replay)

    def run_(*words: str) -> str:
        done = CliRunner().invoke(command, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    yield run_
    get_settings.cache_clear()


@pytest.fixture
def submission(ctx: Context, app: Celery, server: Server) -> uuid.UUID:
    """Three concluded consultations whose memory knew the second model to be harsh."""
    learned = submit(ctx, 3)
    graded(ctx, app, server, learned, LISTS)
    _remember(ctx, learned)
    conclude(ctx, learned)
    return learned


def _remember(ctx: Context, submission: uuid.UUID) -> None:
    """A snapshot of the memory that the submission's consultations were accepted with."""
    rows = ask(
        ctx,
        "SELECT DISTINCT v.id, v.family, v.name FROM generations g JOIN model_versions v "
        "ON v.id = g.model_version_id ORDER BY v.name",
    )
    raw = [
        RawReview(
            f"item {k}",
            str(id_),
            family,
            "medication/general",
            0.6 - 0.2 * (u == 1) + 0.01 * (k * u % 5),
            0.0,
        )
        for k in range(40)
        for u, (id_, family, _) in enumerate(rows)
    ]
    with ctx.transaction() as session:
        id_ = snapshots.add(
            session,
            kind="reviewers",
            form="memory",
            parameters={},
            purposes=["evaluation"],
            span_from=None,
            span_to=None,
            rows_read=len(raw),
            digest="1" * 64,
            body=estimate(raw).to_json(),
        )
    ask(ctx, "UPDATE consultations SET reviewers_snapshot_id = %s WHERE submission_id = %s", id_, submission)


def test_stored_settings_give_the_stored_rows(ctx: Context, run: Any, submission: uuid.UUID) -> None:
    """Bit for bit, and nothing is written."""
    before = ask(ctx, "SELECT to_jsonb(k) FROM consensus k ORDER BY 1")
    assert {row["form"] for (row,) in before} == {"memory"}
    assert run(str(submission)) == "as stored: identical: 3 of 3\n"
    found = json.loads(run(str(submission), "--format", "json"))
    assert (found["consultations"], found["identical"], found["text_purged"]) == (3, 3, 0)
    assert found["settings"]["as_stored"] is True
    assert [row["line"] for row in found["rows"]] == [1, 2, 3]
    for row in found["rows"]:
        assert row["before"] == row["after"]
    assert found["grades"] == {"of": 9, "changed": 0, "mean": 0.0, "largest": 0.0}
    assert ask(ctx, "SELECT to_jsonb(k) FROM consensus k ORDER BY 1") == before


def test_after_a_purge_the_numbers_still_come(ctx: Context, run: Any, submission: uuid.UUID) -> None:
    """Without any key grades are the same bit for bit; the lists say that the text is purged."""
    ask(ctx, "DELETE FROM data_keys")
    out = run(str(submission))
    assert "identical: 3 of 3" in out
    assert "text purged of 3" in out
    found = json.loads(run(str(submission), "--format", "json"))
    assert (found["identical"], found["text_purged"]) == (3, 3)
    for row in found["rows"]:
        assert row["before"]["majority"] == row["after"]["refined"] == "text purged"
        assert row["after"]["grades"] == row["before"]["grades"] != {}
    assert "amoxicillin" not in run(str(submission), "--form", "mean")


def test_the_last_bit_counts(ctx: Context, run: Any, submission: uuid.UUID) -> None:
    """A stored grade that is one unit in the last place off is not the same."""
    [(id_, grade)] = ask(ctx, "SELECT consultation_id, grade FROM consensus ORDER BY 1 LIMIT 1")
    nudged = grade * (1 + 2**-52)
    assert nudged != grade
    ask(ctx, "UPDATE consensus SET grade = %s WHERE consultation_id = %s", nudged, id_)
    assert "identical: 2 of 3" in run(str(submission))
    assert "nothing may change" in run(str(submission))


def test_the_mean_instead(ctx: Context, run: Any, submission: uuid.UUID) -> None:
    """Plain means of the stored grades come, whichever way they are asked for; changes are counted."""
    found = json.loads(run(str(submission), "--form", "mean", "--format", "json"))
    other = json.loads(run(str(submission), "--memory", "0", "--format", "json"))
    assert {**found, "settings": None} == {**other, "settings": None}
    assert found["identical"] == 0
    assert found["settings"]["as_stored"] is False
    grades = dict(
        ask(
            ctx,
            "SELECT g.consultation_id::text || g.seat, avg(r.grade)::float FROM reviews r "
            "JOIN generations g ON g.id = r.generation_id GROUP BY g.consultation_id, g.seat",
        )
    )
    moves = []
    for row in found["rows"]:
        assert row["after"]["form"] == "mean"
        for seat, grade in row["after"]["grades"].items():
            assert grade == pytest.approx(grades[row["consultation"] + seat])
            moves.append(abs(grade - row["before"]["grades"][seat]))
    assert found["grades"]["mean"] == pytest.approx(sum(moves) / 9)
    assert found["grades"]["largest"] == max(moves) > 0.01
    assert found["majority"] == 0, "with equal votes no grade changes a majority"
    assert "form mean" in run(str(submission), "--form", "mean")
    # the published algorithm moves grades; γ moves the support of drugs and nothing else
    found = json.loads(run(str(submission), "--form", "reference", "--format", "json"))
    assert {row["after"]["form"] for row in found["rows"]} == {"reference"}
    assert found["grades"]["changed"] > 0
    found = json.loads(run(str(submission), "--gamma", "0", "--format", "json"))
    assert found["grades"]["changed"] == found["majority"] == found["rule"] == 0
    assert found["support"] == 2, "where all name the same drugs the grades cancel"


def test_what_does_not_fit_is_said(run: Any, ctx: Context) -> None:
    """An unknown submission, an unknown snapshot, options that exclude each other."""
    with pytest.raises(Exception, match="no submission"):
        run(str(uuid.uuid4()))
    with pytest.raises(Exception, match="no snapshot 7"):
        run(str(submit(ctx)), "--memory", "7")
    with pytest.raises(Exception, match="--memory belongs to the default form"):
        run(str(uuid.uuid4()), "--memory", "0", "--form", "mean")
