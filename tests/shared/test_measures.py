"""Measures of lists against gold and of each other: examples by hand, and what always holds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import RecordError
from shared.measures import agreement, f1, in_codes, jaccard, precision_recall, right
from shared.schemas import Gold, GoldItem

STATIN = GoldItem(any_of=["atorvastatin", "rosuvastatin"])
ASPIRIN = GoldItem(any_of=["aspirin"])
BOTH = Gold(required=[STATIN, ASPIRIN], acceptable=["omeprazole"], never=["ibuprofen"])
NOTHING = Gold(acceptable=["paracetamol"], never=["amoxicillin"])

INGREDIENTS = ("amlodipine", "aspirin", "lisinopril", "metformin", "warfarin")
products = st.sets(st.sampled_from(INGREDIENTS), min_size=1, max_size=3).map("/".join)

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


@pytest.mark.parametrize(
    ("any_of", "items"),
    [
        (["co-amoxiclav"], [["amoxicillin"], ["clavulanate"]]),  # as a clinician's list has it
        (["co-amoxiclav", "doxycycline"], [["amoxicillin", "doxycycline"], ["clavulanate", "doxycycline"]]),
        (["doxycycline", "co-amoxiclav"], [["doxycycline", "amoxicillin"], ["doxycycline", "clavulanate"]]),
        (["co-amoxiclav", "amoxicillin"], [["amoxicillin"]]),  # what does alone needs no other
        (
            ["enalapril/hydrochlorothiazide", "lisinopril/hydrochlorothiazide"],
            [["enalapril", "lisinopril"], ["hydrochlorothiazide"]],
        ),
        (["Lipitor", "rosuvastatin", "atorvastatin"], [["atorvastatin", "rosuvastatin"]]),
    ],
)
def test_a_combination_is_all_of_its_ingredients(any_of: list[str], items: list[list[str]]) -> None:
    """One of several alternatives makes several items, of which none is met in vain."""
    coded = in_codes(Gold(required=[GoldItem(any_of=any_of)]), b"key")
    assert [item.any_of for item in coded.required] == items


@given(
    required=st.lists(st.lists(products, min_size=1, max_size=4), max_size=2),
    never=st.sets(st.sampled_from(INGREDIENTS), max_size=2),
)
def test_gold_in_codes_means_the_same(required: list[list[str]], never: set[str]) -> None:
    """Of each item one alternative is there whole, and nothing of never; gold no list can meet is refused."""
    gold = Gold(required=[GoldItem(any_of=any_of) for any_of in required], never=sorted(never))

    def met(given_: set[str]) -> bool:
        return all(any(set(each.split("/")) <= given_ for each in any_of) for any_of in required)

    def meant(given_: set[str]) -> bool:
        return met(given_) and not given_ & never and (bool(required) or not given_)

    lists = [set(c) for k in range(6) for c in itertools.combinations(INGREDIENTS, k)]
    try:
        coded = in_codes(gold, b"key")
    except RecordError:
        assert not any(map(meant, lists))
        return
    assert [right(each, coded) for each in lists] == [meant(each) for each in lists]
    assert any(map(meant, lists))
    if required:
        assert [precision_recall(each, coded)[1] == 1 for each in lists] == [met(each) for each in lists]


def test_gold_that_cannot_be_stored_is_refused() -> None:
    """Where never bars every alternative, also under another name, and where combinations explode."""
    with pytest.raises(RecordError, match="no list could be right"):
        in_codes(Gold(required=[GoldItem(any_of=["Lipitor"])], never=["atorvastatin"]), b"")
    pairs = [
        "amlodipine/atorvastatin",
        "aspirin/dipyridamole",
        "lisinopril/furosemide",
        "metformin/sitagliptin",
    ]
    pairs += ["bisoprolol/ramipril", "omeprazole/naproxen", "prednisolone/citalopram"]
    assert len(in_codes(Gold(required=[GoldItem(any_of=pairs[:6])]), b"").required) == 64
    with pytest.raises(RecordError, match="more than 64 things") as raised:
        in_codes(Gold(required=[STATIN, GoldItem(any_of=pairs)]), b"")
    assert raised.value.path == "gold.required.1"
