"""`consilium reviewers`: from the panel's grades to a table, its planted biases found."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from statistics import mean
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from db.queries import reviewer_audit as queries
from panel.answering import believe
from panel.case import read_case
from panel.generate import vignettes
from panel.models import MODELS
from panel.reviewing import Shown, grade
from producers.cli.reviewers import reviewers as command
from shared.errors import SettingsError
from shared.reviewer_audit import AuditedReview, audit
from shared.settings import get_settings

CONSULTATIONS = 600


@pytest.fixture(scope="module")
def reviews() -> list[AuditedReview]:
    """The simulated panel's grades: four of its models at random for each case, each grades the others.

    No answer plants a sentence, and no place or length means anything to these models.
    """
    draw, made = random.Random(4), []
    for vignette in vignettes(CONSULTATIONS, 4):
        case = read_case(vignette["vignette"])
        seats = draw.sample(sorted(MODELS), 4)
        answers = {m: believe(MODELS[m], case, 1) for m in seats}
        characters = {m: draw.randint(150, 700) for m in seats}
        for reviewer in seats:
            others = [m for m in seats if m != reviewer]
            draw.shuffle(others)
            for place, author in enumerate(others, start=1):
                belief = answers[author]
                shown = Shown(
                    belief.decision, frozenset(d for d, _ in belief.starts), frozenset(belief.stops)
                )
                made.append(
                    AuditedReview(
                        consultation=vignette["id"],
                        item=f"{vignette['id']} {author}",
                        reviewer=str(uuid.uuid5(uuid.NAMESPACE_URL, reviewer)),
                        family=MODELS[reviewer].family,
                        author_family=MODELS[author].family,
                        grade=grade(MODELS[reviewer], case, shown, "", 1)[0],
                        position=place,
                        characters=characters[author],
                    )
                )
    return made


def test_the_panels_planted_biases_are_found(reviews: list[AuditedReview]) -> None:
    """Harshness follows the planted biases less their mean, noise the planted noise; place and length, which
    mean nothing to the panel, have intervals that hold 0 but for what chance does."""
    by_id = {one.reviewer: one for one in audit(reviews)}
    found = {name: by_id[str(uuid.uuid5(uuid.NAMESPACE_URL, name))] for name in MODELS}
    offset = mean(model.bias for model in MODELS.values())
    planted = {name: model.bias - offset for name, model in MODELS.items()}
    told = {name: one.harshness.value for name, one in found.items() if one.harshness}
    assert told.keys() == planted.keys()
    # grades are cut at 0 and 1, and a model that does not recall judges by its own belief
    assert mean(abs(told[name] - planted[name]) for name in planted) < 0.04
    for name in ("sim-birch-large", "sim-alder-large"):
        assert found[name].harshness.high < 0, name
    for name in ("sim-alder-small", "sim-birch-small"):
        assert found[name].harshness.low > 0, name
    noise = {name: one.noise.value for name, one in found.items() if one.noise}
    assert mean(noise[n] for n in MODELS if n.endswith("small")) > mean(
        noise[n] for n in MODELS if n.endswith("large")
    )
    for kind in ("position", "length"):
        effects = [getattr(one, kind) for one in found.values()]
        assert sum(not e.low <= 0 <= e.high for e in effects) <= 3, kind


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run the command on the test's database; what it prints."""
    monkeypatch.setenv("CONSILIUM_DATABASE_URL", database_url)
    get_settings.cache_clear()
    app = typer.Typer()
    app.command()(command)

    def run_(*words: str) -> str:
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    yield run_
    get_settings.cache_clear()


def test_nothing_stored(run: Any) -> None:
    """No table: what to do is said; for programs an empty list."""
    assert "no reviews with the purpose evaluation" in run("--purposes", "evaluation")
    assert json.loads(run("--format", "json")) == []
    with pytest.raises(SettingsError, match="--purposes takes care"):
        run("--purposes", "imported")


def test_table_and_json(run: Any, reviews: list[AuditedReview], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row a model version with its intervals, and the warning about many looks."""
    names = {str(uuid.uuid5(uuid.NAMESPACE_URL, name)): name for name in MODELS}
    monkeypatch.setattr(queries, "reviews", lambda *_: reviews)
    monkeypatch.setattr(
        queries,
        "versions",
        lambda _session, ids: {id_: queries.Version(names[id_], f"{names[id_]}-1", True) for id_ in ids},
    )
    rows = json.loads(run("--format", "json"))
    assert [row["model"] for row in rows] == sorted(MODELS)
    assert sum(row["reviews"] for row in rows) == len(reviews)
    assert all(set(row["harshness"]) == {"value", "low", "high"} for row in rows)
    out = run()
    assert out.count("(simulated)") == len(MODELS) + 1
    assert "effects were looked at together: about 2 of their 95 % intervals" in out
    assert "0 lies outside" in out
