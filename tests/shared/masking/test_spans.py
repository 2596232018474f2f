"""Spans without overlaps, and the work that a repeated find may make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.masking import Mask
from shared.masking.patterns import shaped
from shared.masking.record import recorded
from shared.masking.spans import Reading, Span, apart
from shared.schemas import Identity, Vignette

TEXT = "abc, de. fgh - 1234 :: xyz"
PLACES = (
    st.tuples(st.integers(0, len(TEXT)), st.integers(0, len(TEXT)))
    .map(sorted)
    .filter(lambda at: at[0] < at[1])
)


@given(st.lists(PLACES, max_size=12), st.lists(PLACES, max_size=1))
def test_apart_covers_each_letter_once(found: list[list[int]], protected: list[list[int]]) -> None:
    """What comes out is in order, apart, and covers each letter that any find covers and nothing protects."""
    spans = [Span(start, end, "name", str(number % 3)) for number, (start, end) in enumerate(found)]
    chosen = apart(spans * 2, [(start, end) for start, end in protected], TEXT)
    covered = [at for span in chosen for at in range(span.start, span.end)]
    assert covered == sorted(set(covered))
    kept = {at for start, end in protected for at in range(start, end)}
    wanted = {at for start, end in found for at in range(start, end)} - kept
    assert {at for at in wanted if TEXT[at].isalnum()} <= set(covered) <= wanted


@pytest.mark.parametrize("piece", ["Visit:1-", "a:", "MRN: 12345678 Na 138 K 4.1 Cr 0.9\n"])
def test_the_work_grows_with_the_text(piece: str) -> None:
    """An identifier that stands N times is one entry with N places, not N entries with N places each."""
    text = piece * (8_000 // len(piece))
    mask = Mask.of(Vignette(id="v", vignette=text, identity=Identity()))
    reading = Reading(text)
    assert len(mask._found) <= 3
    assert len(list(recorded(mask._found.values(), reading))) <= 3 * len(text) // len(piece)


@given(st.text(max_size=60))
def test_plain_is_as_long_and_keeps_letters(text: str) -> None:
    """The text for shapes stands letter for letter under the original, and only signs and digits differ."""
    plain = Reading(text).plain
    assert len(plain) == len(text)
    assert all(a == b or not a.isalpha() for a, b in zip(text, plain, strict=True))


def test_what_is_tried_at_each_place_is_bounded() -> None:
    """A label has at most 63 letters and a mailbox 64, as the standards say; no domain has a dozen labels."""
    for long in ("a" * 70, "a." * 40 + "a", "a-" * 40 + "a"):
        assert all(span.start > 0 for span in shaped(Reading(f"{long}.com and {long}@example.org")))
