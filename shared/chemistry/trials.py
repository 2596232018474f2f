"""The trials of a history: who sat, what the consensus was, whether it was right, and what was asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from shared.history import HistoryRow, question_of


@dataclass(frozen=True)
class Trial:
    """One run of an ensemble on one question. The consensus is the answer of the highest quality;
    where several share it, the first of them in the file."""

    task: str
    seats: Mapping[str, int]  # model → how often it sat
    quality: float | None  # of the consensus, 0…10; None: no answer was graded
    right: bool | None  # generation_accuracy of the consensus ≥ 0.5; None: no truth
    question: str | None = field(repr=False)  # told from the answers' text; never a feature
    rows: tuple[HistoryRow, ...] = field(repr=False)  # without text


def trials_of(rows: Iterable[HistoryRow]) -> list[Trial]:
    """The trials of rows in their order.

    The public histories use some names of trials twice, for runs of other models on other questions: a run is
    told by task, trial, strategy and its elapsed time as well, which its rows share. Where most trials hold
    several elapsed times they are the seats' own and say nothing.
    """
    named: dict[tuple[str, str, str], list[tuple[HistoryRow, str | None]]] = defaultdict(list)
    asked: dict[str, str | None] = {}
    for row in rows:
        if row.result not in asked:
            if len(asked) > 10_000:  # texts repeat close by: memory stays bounded
                asked.clear()
            asked[row.result] = question_of(row.result)
        question = asked[row.result]
        named[row.task, row.trial, row.strategy].append((replace(row, result=""), question))
    several = [len({row.elapsed for row, _ in held}) > 1 for held in named.values() if len(held) > 1]
    runs: dict[tuple[str, str, str, str | None], list[tuple[HistoryRow, str | None]]] = defaultdict(list)
    for key, held in named.items():
        for row, question in held:
            runs[(*key, None if 2 * sum(several) > len(several) else row.elapsed)].append((row, question))
    return [_trial(held) for held in runs.values()]


def _trial(held: list[tuple[HistoryRow, str | None]]) -> Trial:
    graded = [row for row, _ in held if row.quality is not None]
    top = max(graded, key=lambda row: row.quality or 0.0, default=None)
    truth = top.generation_accuracy if top else None
    asked = Counter(question for _, question in held if question is not None).most_common(1)
    return Trial(
        held[0][0].task,
        Counter(row.model for row, _ in held),
        top.quality if top else None,
        None if truth is None else truth >= 0.5,
        asked[0][0] if asked else None,
        tuple(row for row, _ in held),
    )
