"""What a clinician's decision says of the proposal."""

from __future__ import annotations

import pytest

from producers.decisions import Decision, decided
from shared.errors import RecordError
from shared.measures import right

OURS = ["aspirin", "simvastatin"]


@pytest.mark.parametrize(
    ("said", "names", "expected", "good"),
    [
        (None, ["ASA 81 mg", "Zocor"], "accepted", True),
        (None, ["aspirin"], "edited", False),
        (None, ["aspirin", "simvastatin", "metoprolol"], "edited", False),
        (None, ["metoprolol"], "edited", False),
        (None, [], "rejected", False),
        ("accepted", None, "accepted", True),
        ("accepted", ["simvastatin 20 mg", "aspirin"], "accepted", True),
        ("edited", ["aspirin", "simvastatin 10 mg"], "edited", True),  # by its dose
        ("edited", [], "edited", False),
        ("rejected", None, "rejected", False),
        ("rejected", ["metoprolol"], "rejected", False),
    ],
)
def test_the_proposal_was_right_where_it_was_given_whole(
    said: Decision | None, names: list[str] | None, expected: str, good: bool
) -> None:
    """And what was given is right by the same gold, whatever was decided."""
    decision, gold = decided(said, names, OURS, b"key")
    assert decision == expected
    assert right(OURS, gold) is good
    assert right([item.any_of[0] for item in gold.required], gold)


@pytest.mark.parametrize(
    ("said", "names", "ours"),
    [
        ("accepted", ["aspirin"], OURS),
        ("edited", None, OURS),
        ("rejected", ["aspirin"], OURS),
        ("rejected", None, []),
    ],
)
def test_what_contradicts_itself_is_refused(said: Decision, names: list[str] | None, ours: list[str]) -> None:
    """Also a rejection of no drug that does not say what was given instead."""
    with pytest.raises(RecordError) as error:
        decided(said, names, ours, b"key")
    assert error.value.path == "list"
