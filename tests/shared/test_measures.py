"""Measures of lists against gold and of each other: examples by hand, and what always holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.measures import agreement, f1, in_codes, jaccard, precision_recall, right
from shared.schemas import Gold, GoldItem

STATIN = GoldItem(any_of=["atorvastatin", "rosuvastatin"])
ASPIRIN = GoldItem(any_of=["aspirin"])
BOTH = Gold(required=[STATIN, ASPIRIN], acceptable=["omeprazole"], never=["ibuprofen"])
NOTHING = Gold(acceptable=["paracetamol"], never=["amoxicillin"])

drugs = st.sets(st.sampled_from("abcdef"))
golds = st.builds(
    Gold,
    required=st.lists(
        st.builds(GoldItem, any_of=st.lists(st.sampled_from("abc"), min_size=1, unique=True)), max_size=2
    ),
    acceptable=st.just(["d"]),
    never=st.just(["e"]),
)


@pytest.mark.parametrize(
    ("drugs", "gold", "expected"),
    [
        (["aspirin", "atorvastatin"], BOTH, True),
        (["aspirin", "rosuvastatin", "omeprazole"], BOTH, True),
        (["aspirin", "atorvastatin", "lisinopril"], BOTH, True),  # neither required nor never
        (["aspirin"], BOTH, False),
        ([], BOTH, False),
        (["aspirin", "atorvastatin", "ibuprofen"], BOTH, False),
        ([], NOTHING, True),
        (["paracetamol"], NOTHING, True),
        (["paracetamol", "lisinopril"], NOTHING, False),
        (["amoxicillin"], NOTHING, False),
    ],
)
def test_right(drugs: list[str], gold: Gold, expected: bool) -> None:
    """Definition list-1: all that is required, nothing of never; where nothing is required, no other drug."""
    assert right(drugs, gold) is expected


@pytest.mark.parametrize(
    ("drugs", "gold", "precision", "recall", "harmonic"),
    [
        (["aspirin", "atorvastatin"], BOTH, 1.0, 1.0, 1.0),
        (["aspirin", "omeprazole"], BOTH, 1.0, 0.5, 2 / 3),  # an acceptable drug counts nowhere
        (["aspirin", "lisinopril"], BOTH, 0.5, 0.5, 0.5),
        (["aspirin", "lisinopril", "metformin", "ibuprofen"], BOTH, 0.25, 0.5, 1 / 3),
        (["omeprazole"], BOTH, 0.0, 0.0, 0.0),
        (["lisinopril"], BOTH, 0.0, 0.0, 0.0),
        ([], BOTH, 0.0, 0.0, 0.0),
        ([], NOTHING, 1.0, 1.0, 1.0),
        (["paracetamol"], NOTHING, 1.0, 1.0, 1.0),
        (["amoxicillin"], NOTHING, 0.0, 0.0, 0.0),
    ],
)
def test_precision_recall_f1(
    drugs: list[str], gold: Gold, precision: float, recall: float, harmonic: float
) -> None:
    """Each required item counts once, by its best alternative; both empty 1, one empty 0."""
    assert precision_recall(drugs, gold) == (precision, recall)
    assert f1(drugs, gold) == pytest.approx(harmonic)


@given(given_=drugs, gold=golds)
def test_measures_agree_with_each_other(given_: set[str], gold: Gold) -> None:
    """All are in [0, 1]; F1 is 1 for a right list without other drugs, and recall is 1 for any right list."""
    precision, recall = precision_recall(given_, gold)
    assert 0 <= precision <= 1
    assert 0 <= recall <= 1
    assert min(precision, recall) - 1e-12 <= f1(given_, gold) <= max(precision, recall) + 1e-12
    if right(given_, gold):
        assert recall == 1
    if precision == recall == 1:
        assert right(given_, gold)


@given(a=drugs, b=drugs)
def test_jaccard(a: set[str], b: set[str]) -> None:
    """Symmetric, in [0, 1], 1 for equal lists alone, 0 without a common drug."""
    found = jaccard(a, b)
    assert found == jaccard(b, a)
    assert 0 <= found <= 1
    assert (found == 1) == (a == b)
    assert (found == 0) == (a != b and not a & b)


def test_agreement_by_hand() -> None:
    """The mean over the pairs: 1/3, 0 and 1/2; fewer than two lists have none; empty lists agree."""
    assert agreement([{"a", "b"}, {"b", "c"}, {"c"}]) == pytest.approx((1 / 3 + 0 + 1 / 2) / 3)
    assert agreement([set(), set()]) == 1
    assert agreement([{"a"}]) is None
    assert agreement([]) is None


def test_gold_is_stored_in_codes() -> None:
    """Brands become ingredients, what is not known a digest: no free text stands outside the sealed table."""
    gold = Gold(required=[GoldItem(any_of=["Lipitor"])], acceptable=["Mrs Smith's tea"], never=["Augmentin"])
    coded = in_codes(gold, b"key")
    assert coded.required[0].any_of == ["atorvastatin"]
    assert set(coded.never) == {"amoxicillin", "clavulanate"}
    assert [code[:8] for code in coded.acceptable] == ["unknown:"]
    assert "Smith" not in coded.model_dump_json()
