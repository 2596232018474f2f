"""The published recommender, deterministic, against every recommendation its own code was seen to give."""

from __future__ import annotations

from typing import Any

import pytest

from producers.readers.history_csv import read_history
from shared.chemistry.cost import Rated
from shared.chemistry.reference import Loss, best_rows, past_configurations, recommend, table
from shared.history import HistoryRow
from tests.shared_data import NOT_HERE, SHARED_DATA

HISTORIES = SHARED_DATA / "histories"


def models_of(case: dict[str, Any]) -> list[Rated]:
    """The case's models."""
    return [Rated(name, numbers[0], numbers[1]) for name, numbers in case["models"].items()]


def test_every_golden_recommendation(golden: list[dict[str, Any]]) -> None:
    """Where one set is listed it is that one; where several, one of them or one of lower or equal loss."""
    for case in golden:
        models = models_of(case)
        chemistry = table(models, case["usage"])
        loss = Loss(sorted(case["models"]), chemistry)
        assert loss.max_total == pytest.approx(case["max_total"], abs=1e-9)
        assert min(abs(loss.max_inter - seen) for seen in case["max_inter"]) < 1e-8
        past = [frozenset(one) for one in case["past"]]
        found = recommend(models, past, chemistry, usage=case["usage"])
        if (sorted(found) if found else None) in case["seen"]:
            continue
        assert len(case["seen"]) > 1, case["name"]
        assert found is not None
        assert loss(found) <= min(loss(frozenset(seen)) for seen in case["seen"] if seen) + 1e-11, case[
            "name"
        ]


def test_the_order_of_what_is_given_changes_nothing(golden: list[dict[str, Any]]) -> None:
    """Models, configurations and pairs in reverse give the same answer."""
    for case in golden:
        models, past = models_of(case), [frozenset(one) for one in case["past"]]
        chemistry = table(models, case["usage"])
        backwards = dict(reversed(chemistry.items()))
        assert recommend(models, past, chemistry) == recommend(models[::-1], past[::-1], backwards)


def test_without_a_table_history_is_all_good_or_all_bad() -> None:
    """Perfect models alone leave no pair: the best single one; none of use: nobody."""
    perfect = [Rated("b", 10.0, 0.9), Rated("a", 10.0, 1.0), Rated("c", 10.0, 1.0)]
    assert table(perfect) == {}
    assert recommend(perfect, [], {}) == {"a"}
    assert recommend([Rated("a", 9.0, 0.2)], [], {}) is None
    assert recommend([], [], {}) is None


def row(model: str, accuracy: float | None, trial: str, strategy: str = "RANDOM") -> HistoryRow:
    """A row of history."""
    return HistoryRow(
        trial=trial, model=model, task="t", latency_s=None, temperature=None, item="i", result="",
        quality=5.0, generation_accuracy=None, variance=None, review_accuracy=None, accuracy=accuracy,
        elapsed=None, strategy=strategy, created=None,
    )  # fmt: skip


def test_the_best_row_stands_for_a_model() -> None:
    """Highest accuracy, the first of equals; never one that CHEMISTRY chose; floored; unknown is no row."""
    rows = [
        row("a", 0.7, "1"), row("a", 0.9, "2"), row("a", 0.9, "3"), row("a", 1.0, "4", "CHEMISTRY"),
        row("b", 0.01, "2"), row("c", None, "5"),
    ]  # fmt: skip
    best = best_rows(rows)["t"]
    assert best == {"a": (Rated("a", 5.0, 0.9), "2"), "b": (Rated("b", 5.0, 0.1), "2")}
    assert past_configurations(best) == [{"a", "b"}]


@pytest.mark.parametrize("name", ["runs", "runs2"])
def test_the_public_histories_give_the_golden_models(name: str, golden: list[dict[str, Any]]) -> None:
    """Read from the file: the same best rows, and the same partition by trial."""
    path = HISTORIES / f"{name}.csv.gz"
    if not path.exists():
        pytest.skip(NOT_HERE)
    [case] = [case for case in golden if case["name"] == name]
    [best] = best_rows(r for r in read_history(path) if isinstance(r, HistoryRow)).values()
    assert sorted(best) == sorted(case["models"])
    for model, (quality, accuracy, trial) in case["models"].items():
        assert best[model][0].quality == quality
        assert best[model][0].accuracy == pytest.approx(accuracy, abs=1e-12)
        assert best[model][1] == trial
    assert past_configurations(best) == [set(one) for one in case["past"]]
