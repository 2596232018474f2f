"""Lenient reading: what is packed oddly is found, what does not fit is said without quoting it."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.errors import UnreadableAnswer
from shared.reading import MAX_CHARS, read_answer
from shared.schemas import Medication, Recommendation, ReviewAnswer

ORDER = {"name": "atorvastatin", "action": "start", "dose": "40 mg"}
ANSWER = {"decision": "recommend", "medications": [ORDER], "rationale": "first line {sic}"}
READ = Recommendation.model_validate(ANSWER)
TEXT = json.dumps(ANSWER)

words = st.text(min_size=1, max_size=60).filter(lambda text: text.strip() != "")
medications = st.builds(
    Medication,
    name=words,
    action=st.sampled_from(["start", "continue", "stop"]),
    dose=st.text(max_size=20),
    indication=st.text(max_size=40),
)
recommendations = st.builds(
    Recommendation,
    decision=st.just("recommend"),
    medications=st.lists(medications, min_size=1, max_size=4),
    rationale=st.text(max_size=200),
)
prose = st.text(max_size=100) | st.sampled_from(
    ["Sure! Here it is [1]:\n", "see {below}: ", "[", "{{", "```json\n", '"', "\\", "<think>", "Note: []\n"]
)
closing = st.text(max_size=100) | st.sampled_from(
    ["\n```", "]", "}", "\nHope this helps {x}.", '"', "```\n[2]"]
)


@given(recommendations, prose, closing, st.booleans(), st.sampled_from([None, 2]))
def test_an_answer_is_found_within_anything(
    answer: Recommendation, before: str, after: str, ascii_only: bool, indent: int | None
) -> None:
    """A valid answer is recovered as it was from prose, brackets and fences around it."""
    assume("</think>" not in before + after)
    text = json.dumps(answer.model_dump(), ensure_ascii=ascii_only, indent=indent)
    assert read_answer(before + text + after, Recommendation) == answer


@given(st.text(max_size=300) | st.text(alphabet='{}[]",:\\ 01en.tgrad', max_size=300))
def test_no_text_makes_another_error(text: str) -> None:
    """Any text is an answer or an unreadable one."""
    for schema in (Recommendation, ReviewAnswer):
        with contextlib.suppress(UnreadableAnswer):
            assert isinstance(read_answer(text, schema), schema)


@given(st.text(alphabet="qxzjwvk", min_size=8, max_size=20))
def test_a_fault_quotes_nothing(canary: str) -> None:
    """Neither values nor keys of an answer reach the fault."""
    for wrong in (
        {"decision": canary, "medications": []},
        {canary: canary},
        {"decision": "recommend", "medications": [{**ORDER, "action": canary, "dose": [canary]}]},
        {"decision": "recommend", "medications": {canary: canary}},
    ):
        with pytest.raises(UnreadableAnswer) as caught:
            read_answer(f"{canary} {json.dumps(wrong)} {canary}", Recommendation)
        assert canary not in caught.value.fault
        assert canary not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        f"[{TEXT}]",
        f'{{"recommendation": {TEXT}}}',
        f"```\n{TEXT}\n```\n```\n{TEXT}\n```",  # twice the same is one answer
        TEXT.replace('"40 mg"}', '"40 mg",}').replace("]", ",]"),
        TEXT.replace('"dose"', '"route": null, "frequency": null, "dose"'),
        f"<think>perhaps {json.dumps({'decision': 'defer'})}</think>\n{TEXT}",
    ],
)
def test_odd_packing_is_read(raw: str) -> None:
    """Lists, wrappers, repetitions, trailing commas, nulls and thoughts do not hide the answer."""
    assert read_answer(raw, Recommendation) == READ


def test_commas_within_strings_stay() -> None:
    """Mending trailing commas leaves the text of the answer alone."""
    raw = '{"decision": "defer", "rationale": "either [a,] or {b,} \\",]\\"",}'
    assert read_answer(raw, Recommendation).rationale == 'either [a,] or {b,} ",]"'


def test_a_bare_list_of_medications_is_a_recommendation() -> None:
    """Where the object around the list was left out, its decision is to recommend."""
    assert read_answer(json.dumps([ORDER]), Recommendation).medications == READ.medications


def test_raw_line_breaks_in_strings_are_read() -> None:
    """Models forget to escape them."""
    assert read_answer('{"grade": 0.5, "critique": "one\ntwo"}', ReviewAnswer).critique == "one\ntwo"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ("", "it is empty"),
        ("I would rather not say.", "it holds no JSON object"),
        (TEXT[:-20], "its JSON is not well formed or breaks off"),
        (json.dumps(Recommendation.model_json_schema()), "it is the schema itself, not an answer by it"),
        ('{"decision": "perhaps"}', "decision: Input should be 'recommend', 'no_medication' or 'defer'"),
        (
            '{"decision": "recommend"}',
            "the object: decision is 'recommend' but medications is empty",
        ),
        (f'{TEXT} {{"decision": "defer"}}', "it holds several answers that differ"),
        ("[]", "it holds no JSON object"),
        ("[" * 100_000, "it holds no JSON object"),
        ('{"a": ' * 50_000, "its JSON is not well formed or breaks off"),
        (" " + "x" * MAX_CHARS, "it is longer than 400000 characters"),
    ],
)
def test_what_does_not_fit_is_said(raw: str, fault: str) -> None:
    """Each fault is named in words that a repair prompt can use."""
    with pytest.raises(UnreadableAnswer) as caught:
        read_answer(raw, Recommendation)
    assert caught.value.fault == fault


def test_many_faults_are_counted() -> None:
    """The fault stays short however many fields are wrong."""
    with pytest.raises(UnreadableAnswer, match="; and 34 more"):
        read_answer(
            json.dumps({"decision": "recommend", "medications": [{"name": "x"}] * 40}), Recommendation
        )


@pytest.mark.parametrize(
    "raw",
    [
        '{"grade": 1.5}',
        '{"grade": -0.1}',
        '{"grade": NaN}',
        '{"grade": "0.8"}',
        '{"grade": null}',
        '{"grade": true}',
        '{"grade": 0.2, "critique": "it says {"grade": 1.0} of itself"}',  # a quotation is no answer
        '{"grade": 1.0} was what it asked for; I say {"grade": 0.2',
        '{"grade": 1.0} was what it asked for; I say {"grade": 0.2}',
    ],
)
def test_no_grade_is_guessed(raw: str) -> None:
    """A grade out of range, of another type or in doubt is malformed, not clipped or chosen."""
    with pytest.raises(UnreadableAnswer):
        read_answer(raw, ReviewAnswer)


def test_depth_is_no_error() -> None:
    """An answer with a deep field of its own invention is still read."""
    deep = "[" * 400 + "]" * 400
    assert read_answer(f'{{"grade": 1, "extra": {deep}}}', ReviewAnswer).grade == 1
