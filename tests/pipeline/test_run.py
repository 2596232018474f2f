"""The main job: a bulk goes in, and for each record exactly one consensus comes out."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import httpx
import pytest

from tests.pipeline.conftest import Pipeline, vignettes

BAD = [
    b'{"id": "x"',
    b"[]",
    b'{"id": "x", "vignette": 5}',
    b'{"vignette": "no id, but long enough to be read"}',
    b"\xff\xfe",
    b'{"id": "y", "vignette": "short"}',
    b'{"id": "z", "vignette": "long enough to be read", "k": 1}',
]


@pytest.mark.timeout(300)
def test_each_record_ends_exactly_once(pipeline: Pipeline, size: int) -> None:
    """Of the records seven are malformed and set aside; each other one ends once, with N·(N−1) reviews."""
    good = vignettes(size - len(BAD))
    lines = [*good[:10], *BAD, *good[10:]]
    submission = pipeline.submit(lines)
    counts = pipeline.wait(submission)
    n = len(good)
    assert (counts["records"], counts["set_aside"]) == (size, 7)
    assert counts["completed"] + counts["needs_review"] == n
    aside = pipeline.ask(
        "SELECT line, error_code, error_reason FROM records WHERE submission_id = %s AND state = 'set_aside' "
        "ORDER BY line",
        submission,
    )
    assert [line for line, _, _ in aside] == list(range(11, 18))
    assert all(code and reason for _, code, reason in aside)
    per_consultation = pipeline.ask(
        """
        SELECT count(DISTINCT k.consultation_id), count(DISTINCT g.id), count(DISTINCT r.id),
               count(DISTINCT i.seat), count(DISTINCT e.id)
        FROM consultations c
        LEFT JOIN consensus k ON k.consultation_id = c.id
        LEFT JOIN generations g ON g.consultation_id = c.id
        LEFT JOIN reviews r ON r.consultation_id = c.id
        LEFT JOIN interactions i ON i.consultation_id = c.id
        LEFT JOIN outbox_events e ON e.consultation_id = c.id
        WHERE c.submission_id = %s GROUP BY c.id
        """,
        submission,
    )
    assert set(per_consultation) == {(1, 3, 6, 3, 1)}
    assert len(per_consultation) == n
    own = pipeline.ask(
        "SELECT count(*) FROM reviews r JOIN generations g ON g.id = r.generation_id "
        "WHERE g.seat = r.seat AND g.consultation_id = r.consultation_id"
    )
    assert own == [(0,)], "nobody reviews its own answer"
    calls = pipeline.call_counts(submission)
    assert (calls["calls"], calls["dup"], calls["overlap"], calls["lost"]) == (9 * n, 0, 0, 0)
    ledger = pipeline.panel("/ledger")
    assert (ledger["total"], ledger["overlaps"]) == (9 * n, 0)


def test_books_agree_with_the_panels_ledger(pipeline: Pipeline) -> None:
    """Tokens and calls in our books are the panel's own, with faults on."""
    pipeline.panel("/control/faults", {"429": 0.05, "5xx": 0.05, "malformed": 0.08, "refusal": 0.02})
    submission = pipeline.submit(vignettes(20))
    counts = pipeline.wait(submission)
    assert counts["open"] == 0
    calls = pipeline.call_counts(submission)
    ledger = pipeline.panel("/ledger")
    assert calls["calls"] == ledger["total"]
    assert ledger["faults"], "some were injected"
    for kind in ("prompt_tokens", "completion_tokens"):
        assert calls[kind] == sum(model[kind] for model in ledger["models"].values())
    assert calls["dup"] == calls["overlap"] == 0


def test_flower_sees_the_tasks_and_only_ids(pipeline: Pipeline) -> None:
    """Flower's API lists the tasks of a run, refuses strangers, and shows nothing but ids."""
    stack = pipeline.stack
    submission = pipeline.submit(vignettes(3))
    pipeline.wait(submission)
    assert httpx.get(f"{stack.flower_url}/api/tasks").status_code == 401
    with httpx.Client(base_url=stack.flower_url, auth=stack.flower_auth, timeout=30) as flower:
        tasks = flower.get("/api/tasks", params={"limit": 500}).json().values()
    names = {task["name"] for task in tasks}
    assert {"consilium.generate", "consilium.review", "consilium.advance", "consilium.conclude"} <= names
    for task in tasks:
        words = (
            re.sub(r"[][()]", "", str(task["args"])).rstrip(",").replace("'", "").split(", ")
            if task["args"]
            else []
        )
        for word in filter(None, words):
            assert word.isdigit() or uuid.UUID(word)


def test_memory_is_recomputed_and_used(pipeline: Pipeline) -> None:
    """Beat recomputes the reviewers' memory from stored grades; the next consultations fix that snapshot."""
    pipeline.wait(pipeline.submit(vignettes(10), purpose="care"))
    with_history = pipeline.ask("SELECT max(number) FROM snapshots WHERE kind = 'reviewers'")
    while with_history == [(0,)]:  # the period is two seconds; pytest's timeout bounds this
        pipeline.sender.send_task("consilium.recompute_reviewers", queue="periodic", ignore_result=True)
        submission = pipeline.submit(vignettes(1))
        pipeline.wait(submission)
        with_history = pipeline.ask("SELECT max(number) FROM snapshots WHERE kind = 'reviewers'")
    submission = pipeline.submit(vignettes(3))
    pipeline.wait(submission)
    used = pipeline.ask(
        "SELECT DISTINCT s.number > 0, k.form FROM consensus k JOIN snapshots s ON s.id = k.snapshot_id "
        "JOIN consultations c ON c.id = k.consultation_id WHERE c.submission_id = %s",
        submission,
    )
    assert all(number for number, _ in used)
    assert {form for _, form in used} <= {"memory", "mean"}


def test_the_next_choice_follows_what_was_learned(pipeline: Pipeline) -> None:
    """Consultations with gold become chemistry; what is accepted then is chosen by it and says so."""
    chemistry = "SELECT coalesce(max(number), 0) FROM snapshots WHERE kind = 'chemistry' AND scope = 'site'"
    [(before,)] = pipeline.ask(chemistry)
    pipeline.wait(pipeline.submit(vignettes(12), purpose="care"))
    while pipeline.ask(chemistry) == [(before,)]:  # the period is two seconds; pytest's timeout bounds this
        pipeline.sender.send_task("consilium.recompute_chemistry", queue="periodic", ignore_result=True)
        pipeline.wait(pipeline.submit(vignettes(1)))
    submission = pipeline.submit(vignettes(3), strategy="CHEMISTRY")
    pipeline.wait(submission)
    drawn = pipeline.ask(
        "SELECT DISTINCT c.strategy, s.number > %s FROM consultations c "
        "JOIN snapshots s ON s.id = c.chemistry_snapshot_id WHERE c.submission_id = %s",
        before,
        submission,
    )
    assert drawn == [("CHEMISTRY", True)]


def test_command_line_from_end_to_end(pipeline: Pipeline) -> None:
    """submit --wait, results, show and models check, as a person types them."""
    consilium = [str(Path(sys.executable).with_name("consilium"))]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*consilium, *words],
            env=pipeline.stack.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "two.ndjson"
        file.write_bytes(b"\n".join(vignettes(2)))
        submitted = run("submit", str(file), "--wait", "--purpose", "demo")
    assert submitted.returncode == 0, submitted.stderr
    submission = submitted.stdout.split()[1].rstrip(":")
    results = run("results", submission, "--format", "ndjson")
    assert results.stdout.count("\n") == 2
    consultation = results.stdout.split('"consultation": "')[1].split('"')[0]
    shown = run("show", consultation)
    assert shown.returncode == 0, shown.stderr
    assert "whose they were" in shown.stdout
    checked = run("models", "check", "--format", "json")
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count('"ok": true') == 12
