"""A row of history in the public columns, its accuracy as one number, and what a row's answer was asked."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime

COLUMNS = (
    "trial",
    "model",
    "task",
    "latency",
    "temperature",
    "id",
    "result",
    "quality",
    "generation_accuracy",
    "variance",
    "review_accuracy",
    "accuracy",
    "elapsed",
    "strategy",
    "created",
)
"""The columns of a history file, in the public files' order (algorithms, section 2)."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One seat of one trial. What is not known is None; `result` is text and stays out of reprs."""

    trial: str
    model: str
    task: str
    latency_s: float | None  # ≥ 0
    temperature: float | None  # ≥ 0
    item: str  # the column `id`: the answer's id within the trial
    result: str = field(repr=False)
    quality: float | None  # 0…10
    generation_accuracy: float | None  # 0…1; at least 0.5 is right
    variance: float | None  # ≥ 0, of the seat as a reviewer
    review_accuracy: float | None  # 0…1
    accuracy: float | None  # 0…1: the mixture as the file gives it
    elapsed: str | None
    strategy: str
    created: datetime | None  # aware; without a zone in the file it is UTC


def mixture(
    generation_accuracy: float | None, review_accuracy: float | None, quality: float | None
) -> float | None:
    """One accuracy in [0, 1] from its parts (algorithms, section 2); None where nothing is known.

    Where the truth is known 0.75 · generation + 0.25 · review accuracy. Where it is not, the answer's quality
    (0…10) stands in, with the weights the other way round: 0.25 · quality / 10 + 0.75 · review accuracy. The
    form follows from whether a truth exists, never from the outcome. A part that is unknown leaves the other
    one alone. It is computed on reading and never stored.
    """
    answer, weight = (
        (generation_accuracy, 0.75)
        if generation_accuracy is not None
        else (None if quality is None else quality / 10, 0.25)
    )
    if answer is None:
        return review_accuracy
    if review_accuracy is None:
        return answer
    return weight * answer + (1 - weight) * review_accuracy


_FUNCTION = re.compile(r"\bdef\s+(?:\w+\.)*(\w+)\s*\(")
_QUOTES = re.compile(r"[\\'\"‘’“”`]")
_WORD = re.compile(r"\w+")
_NO_MEANING = frozenset(
    _WORD.findall(
        "a an and are be been did do does for has have how i if im in is it its label labeled labelled most "
        "my no not of on only or s says sentence so statement t that the their they this to was were what "
        "when where which who whom why will with you your"
    )
)
_MOST = 2000  # characters: what was asked stands at the beginning


def question_of(result: str) -> str | None:
    """A digest (SHA-256, hex) of what an answer was asked, told from its text; None where it cannot be told.

    A program goes by the name of its first function, a statement by its first words (algorithms, section 3).
    Models quote differently, shorten and rephrase: so case, quotes and function words do not count, and of
    the first three others five letters each. A leading `k` and a trailing `_func` of a program's name are
    left away as models do. Only for keeping questions apart, never a feature.
    """
    text = result[:_MOST]
    function = _FUNCTION.search(text)
    if function:
        key = function[1].lower().replace("_", "").removeprefix("k").removesuffix("func")
        return _digest("program", key)
    statement, labelled, _ = _QUOTES.sub("", text).lower().partition("is labeled as")
    words = [word[:5] for word in _WORD.findall(statement) if word not in _NO_MEANING]
    return _digest("statement", " ".join(words[:3])) if words and (labelled or len(words) > 2) else None


def _digest(sort: str, key: str) -> str:
    return hashlib.sha256(f"{sort} {key}".encode(errors="replace")).hexdigest()
