"""`consilium ensemble`, and the choices it compares with what was realised."""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from benchmarks.worlds import history
from db.engine import transaction
from db.queries import choices, snapshots
from producers.cli.ensemble import ensemble
from producers.seating import seat_prices
from shared.chemistry.effects import learn
from shared.choosing import Choice
from shared.selection import Strategy
from tests.accepted import models_toml
from tests.producers.conftest import Site, record

app = typer.Typer()
app.command()(ensemble)


@pytest.fixture
def run(site: Site, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on the fresh site."""
    from shared.settings import get_settings  # the cache is the process's

    (tmp_path / "models.toml").write_text(models_toml())
    monkeypatch.setenv("CONSILIUM_DATABASE_URL", site.url)
    monkeypatch.setenv("CONSILIUM_MODELS_FILE", str(tmp_path / "models.toml"))
    get_settings.cache_clear()
    yield lambda *args: CliRunner().invoke(app, [*args], catch_exceptions=False)
    get_settings.cache_clear()


def learned(site: Site) -> uuid.UUID:
    """Store a snapshot of simulated history of eleven of the twelve models; its id."""
    names = sorted(site.registry)[:11]
    right = np.random.default_rng(1).uniform(0.5, 0.9, (11, 4))
    sums = history(np.random.default_rng(2), right, [site.registry[n].family for n in names], 3, 400)
    body = json.dumps(learn(sums).to_json()).replace("case", "medication")
    for k, name in enumerate(names):
        body = body.replace(f"model-{k:02}", name)
    with transaction(site.url) as session:
        return snapshots.add(
            session, kind="chemistry", scope="site", form="test", parameters={}, purposes=["care"],
            rows_read=1200, digest="0" * 64, body=json.loads(body),
        )  # fmt: skip


def test_without_history(run: Any) -> None:
    """It says that it draws as RANDOM."""
    said = run("--strategy", "CHEMISTRY").stdout
    assert "CHEMISTRY draws as RANDOM" in said
    shown = json.loads(run("--format", "json").stdout)
    assert (shown["asked"], shown["draws_as"], shown["choice"]) == ("CHEMISTRY", "RANDOM", None)


def test_with_history(run: Any, site: Site) -> None:
    """Whom, the parts of the score, the interval, alternatives, and who explores."""
    learned(site)
    shown = json.loads(run("--kind", "medication/cardiology", "--format", "json").stdout)
    choice = shown["choice"]
    assert (shown["draws_as"], choice["basis"], len(choice["models"])) == ("CHEMISTRY", "outcomes", 3)
    parts = choice["parts"]
    assert choice["value"] == pytest.approx(parts["members"] + parts["pairs"])
    assert choice["interval"][0] < choice["value"] < choice["interval"][1]
    assert len(choice["alternatives"]) == 10
    assert shown["exploration"]["without_history"] == [sorted(site.registry)[11]]
    said = run("--explain").stdout
    for what in (
        "promises P(majority right)",
        "= score",
        "alternatives",
        "realised so far",
        "explores in 5%",
    ):
        assert what in said, what


def test_what_cannot_be(run: Any) -> None:
    """An unknown source or wish is a sentence, not a traceback."""
    from shared.errors import ConsiliumError

    for wrong in (("--source", "nobody"), ("--families", "some"), ("--strategy", "FIXED"), ("--n", "13")):
        with pytest.raises(ConsiliumError):
            run(*wrong)


def test_an_unknown_price_is_not_zero(site: Site) -> None:
    """None where the registry says nothing."""
    from shared.settings import Settings

    name = sorted(site.registry)[0]
    model = site.registry[name].model_copy(update={"usd_per_mtok_in": None, "usd_per_mtok_out": None})
    assert seat_prices([model], 3, Settings(_env_file=None)) == {name: None}


def test_promised_against_realised(site: Site) -> None:
    """Plain and weighted means over what was so drawn for care and did not explore; no others."""
    received = site.accept([record(f"r{k}") for k in range(6)], n=3)
    [(source_id, kind)] = set(site.ask("SELECT source_id, kind FROM consultations"))
    choice = Choice(Strategy.CHEMISTRY, ("a", "b", "c"), "outcomes", 0.75, 0.1, {"value": 0.75}, 4)
    with transaction(site.url) as session:
        choices.store(
            session, received.submission_id, source_id, kind, choice, learned(site), dials={"optimism": 0.1}
        )
    ids = [i for (i,) in site.ask("SELECT id FROM consultations ORDER BY id")]
    site.ask("UPDATE consultations SET strategy = 'CHEMISTRY', draw_probability = 0.5")
    site.ask("UPDATE consultations SET draw_probability = 0.001 WHERE id = %s", ids[0])
    site.ask("UPDATE consultations SET explored = true WHERE id = %s", ids[5])
    for k, right in enumerate((True, False, False, True)):
        site.ask(
            "INSERT INTO consensus (consultation_id, source_id, form, snapshot_id, grade, highest_graded, "
            "majority, refined, stops, minority, support, detail, was_right) "
            "SELECT %s, %s, 'f', id, 0.5, '{}', "
            "'{}', '{}', '{}', '{}', '{}', '{}', %s FROM snapshots LIMIT 1",
            ids[k if k < 3 else 5], source_id, right,
        )  # fmt: skip
    with transaction(site.url) as session:
        [found] = choices.realised(session, kind, "CHEMISTRY")
        assert choices.realised(session, "medication/other", "CHEMISTRY") == []
        assert choices.realised(session, None, "CHEMISTRY") == [found]
    assert (found.basis, found.drawn, found.known, found.promised) == ("outcomes", 5, 3, 0.75)
    assert found.realised == pytest.approx(1 / 3)
    assert found.realised_se == pytest.approx((1 / 3) / 1)
    assert found.weighted == pytest.approx(20 / 24)  # 1 / 0.001 counts as 20
    assert found.weighted_se == pytest.approx(
        ((20 * (1 - 20 / 24)) ** 2 + 2 * (2 * 20 / 24) ** 2) ** 0.5 / 24
    )
    [(models, detail)] = site.ask("SELECT models, detail FROM choices")
    assert models == ["a", "b", "c"]
    assert (detail["near_equal"], detail["dials"]) == (4, {"optimism": 0.1})


def test_no_choice_is_stored_as_random(site: Site) -> None:
    """Without history the row says RANDOM and promises nothing."""
    received = site.accept([record("r")], n=3)
    [(source_id, kind)] = site.ask("SELECT source_id, kind FROM consultations")
    with transaction(site.url) as session:
        choices.store(session, received.submission_id, source_id, kind, None, None)
    assert site.ask("SELECT strategy, models, promised FROM choices") == [("RANDOM", [], None)]
