"""What was refined, told by show, results, replay and evaluate: one patient on warfarin."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import typer
from celery import Celery
from typer.testing import CliRunner

from db.engine import transaction
from db.ids import new_id
from db.queries.documents import Vault
from producers.cli.replay import replay
from producers.cli.results import results
from producers.cli.show import show
from producers.evaluation.measure import DIALS, measured
from producers.evaluation.reports import build
from shared.sealing import SiteKey, new_site_key
from shared.settings import get_settings
from tests import accepted
from tests.accepted import ask, submit
from tests.producers.concluded import conclude, graded
from tests.producers.evaluation.synthetic import meta
from tests.workers.chat_server import Server
from workers.context import Context

LINE = {
    "id": "knee",
    "vignette": "A man of seventy has had a painful knee for a week.",
    "context": {"age": 70, "sex": "male", "medications": [{"name": "Coumadin 5 mg"}]},
    "gold": {"required": [{"any_of": ["acetaminophen"]}], "never": ["ibuprofen"]},
}
KEY = new_site_key()
ANSWERS = (("acetaminophen", "ibuprofen"), ("acetaminophen", "ibuprofen"), ("naproxen",))


@pytest.fixture
def ctx(database_url: str, server: Server) -> Context:
    """A worker's context."""
    return replace(accepted.context(database_url, server.url), vault=Vault(SiteKey(KEY), 30))


@pytest.fixture
def submission(ctx: Context, app: Celery, server: Server) -> uuid.UUID:
    """Two of three want ibuprofen beside warfarin."""
    made = submit(ctx, [json.dumps(LINE).encode()])
    graded(ctx, app, server, made, [ANSWERS])
    conclude(ctx, made)
    return made


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a command on the test's database; what it prints."""
    monkeypatch.setenv("CONSILIUM_DATABASE_URL", database_url)
    monkeypatch.setenv("CONSILIUM_SITE_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "120")
    get_settings.cache_clear()
    command = typer.Typer()
    for each in (show, results, replay):
        command.command()(each)

    def run_(*words: str) -> str:
        done = CliRunner().invoke(command, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    yield run_
    get_settings.cache_clear()


def test_a_drug_that_must_go_is_gone_and_every_command_says_why(run: Any, submission: uuid.UUID) -> None:
    """Results, lists side by side, the step in words with its gain; the same for programs."""
    [row] = json.loads(run("results", str(submission), "--format", "json"))
    assert row["recommendation"] == ["acetaminophen"]
    assert all({"acetaminophen", "warfarin"} >= {f["drug"], f["other"]} for f in row["findings"])
    text = " ".join(run("show", row["consultation"]).split())
    assert "ibuprofen removed: with warfarin, major bleeding (FDA label: warfarin)" in text
    assert "takes already: warfarin" in text
    made = json.loads(run("show", row["consultation"], "--format", "json"))
    by_name = {drug["drug"]: drug for drug in made["drugs"]}
    assert by_name["ibuprofen"]["proposed_by"] == ["A", "B"]
    assert "refined" not in by_name["ibuprofen"]["lists"]
    assert by_name["naproxen"]["minority"]
    [step] = made["steps"]
    assert step["in_words"].startswith("ibuprofen removed: with warfarin")
    assert step["gain"]["severity"] > 0 > step["gain"]["support"]


def test_another_dial_refines_the_same_evidence_again(ctx: Context, run: Any, submission: uuid.UUID) -> None:
    """As stored: bit for bit. λ = 0: ibuprofen stays, and nothing but the refinement has moved."""
    assert run("replay", str(submission)) == "as stored: identical: 1 of 1\n"
    assert "identical: 1 of 1" in run("replay", str(submission), "--lambda", "1", "--treats", "0.05")
    found = json.loads(run("replay", str(submission), "--lambda", "0", "--format", "json"))
    assert found["settings"]["severity"] == 0
    assert found["settings"]["as_stored"] is False
    assert (found["refined"], found["findings"], found["majority"], found["support"]) == (1, 1, 0, 0)
    [row] = found["rows"]
    assert row["before"]["refined"] == ["acetaminophen"]
    assert row["after"]["refined"] == ["acetaminophen", "ibuprofen"]
    assert any(finding["effect"] == "major bleeding" for finding in row["after"]["findings"])
    assert "λ = 0: identical: 0 of 1" in run("replay", str(submission), "--lambda", "0")
    # without any key: the findings are codes, and refining needs no text
    ask(ctx, "DELETE FROM data_keys")
    assert "identical: 1 of 1" in run("replay", str(submission))
    found = json.loads(run("replay", str(submission), "--lambda", "0", "--format", "json"))
    assert found["rows"][0]["after"]["trace"] == "text purged"


def test_a_row_from_before_refinement_is_replayed_with_what_held_then(
    ctx: Context, run: Any, submission: uuid.UUID
) -> None:
    """ℓ was 0.6, γ was 1, the refined list the majority's: bit for bit, and no dial moves it."""
    [(detail,)] = ask(ctx, "SELECT detail FROM consensus")
    grades = [detail["answers"][str(seat)]["grade"] for seat in range(3)]
    mean = math.fsum(grades) / 3
    support = {
        drug: 1
        / (
            1
            + math.exp(
                -math.fsum(
                    0.6 + (g - mean) if drug in drugs else -0.6
                    for g, drugs in zip(grades, ANSWERS, strict=True)
                )
            )
        )
        for drug in {drug for drugs in ANSWERS for drug in drugs}
    }
    ask(
        ctx,
        "UPDATE consensus SET refinement = NULL, method = NULL, trace = '[]', findings = '[]', "
        "refined = majority, support = %s",
        json.dumps(support),
    )
    assert run("replay", str(submission)) == "as stored: identical: 1 of 1\n"
    assert "identical: 1 of 1" in run("replay", str(submission), "--lambda", "9")
    [row] = json.loads(run("results", str(submission), "--format", "json"))
    text = " ".join(run("show", row["consultation"]).split())
    assert "not refined: the refined list is the majority's" in text


def test_an_evaluation_measures_every_list_and_every_dial(ctx: Context, submission: uuid.UUID) -> None:
    """Of one consultation: sizes, interacting pairs with what is taken, and the list at each λ."""
    evaluation = new_id()
    spec = json.dumps({"arms": [["RANDOM n=3", "RANDOM", 3, "any", []]]})
    ask(
        ctx,
        "INSERT INTO evaluations (id, digest, spec) VALUES (%s, %s, %s)",
        evaluation,
        "0" * 64,
        spec,
    )
    ask(
        ctx,
        "INSERT INTO evaluation_arms (evaluation_id, arm, repeat, source_id, submission_id) "
        "SELECT %s, 'RANDOM n=3', 1, source_id, id FROM submissions WHERE id = %s",
        evaluation,
        submission,
    )
    with transaction(ctx.settings.require_database()) as session:
        [row] = measured(session, evaluation, ctx.vault)
    assert (row.right, row.lists["refined"].right, row.lists["majority"].right) == (True, True, False)
    majority = row.lists["majority"].interacting
    assert majority is not None
    assert majority.taken >= 1, "ibuprofen beside warfarin"
    assert row.lists["screened"] == row.lists["majority"], "nobody is allergic"
    assert tuple(row.curve) == DIALS
    assert row.curve[1.0] == row.lists["refined"]
    severities = [one.interacting.severity for one in row.curve.values() if one.interacting]
    assert severities == sorted(severities, reverse=True)
    assert severities[0] > severities[-1]
    assert row.curve[0.0].size == 2
    assert [report.name for report in build(["safety"], [row], meta([row]))] == ["safety"]
