"""`consilium chemistry validate FILE`: does a history show that pairs matter? No service needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from producers.cli.common import Format, out, table
from producers.readers.history_csv import BadRow, read_history
from shared.chemistry.trials import trials_of
from shared.chemistry.validation import TOP_SHARE, Comparison, Validation
from shared.chemistry.validation import validate as validated
from shared.errors import SettingsError
from shared.history import HistoryRow
from shared.statistics import Difference, Estimate

BAD_SHOWN = 20


def validate(
    file: Annotated[Path, typer.Argument(help="A history in the public columns: CSV, gzip or not.")],
    seed: Annotated[int, typer.Option(min=0, help="Of folds and bootstrap.")] = 0,
    format_: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """Held-out questions: does it help to know who sits, which pairs, and the published chemistry?"""
    if format_ not in (Format.table, Format.json):
        raise SettingsError("--format must be table or json here")
    counted, bad = [0], []

    def good() -> Iterator[HistoryRow]:
        for row in read_history(file):
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                counted[0] += 1
                yield row

    found = validated(trials_of(good()), seed=seed)
    if format_ is Format.json:
        print(
            json.dumps(
                {
                    "file": str(file),
                    "rows": counted[0],
                    "bad_rows": [asdict(row) for row in bad],
                    "seed": seed,
                    **asdict(found),
                },
                indent=2,
            )
        )
    else:
        _show(file, counted[0], bad, found)


def _show(file: Path, rows: int, bad: list[BadRow], found: Validation) -> None:
    out.print(
        f"{file}: {rows} rows, {found.trials} trials, {found.models} models, {found.tasks} kinds of task, "
        f"{found.questions} questions, {len(bad)} bad rows",
        highlight=False,
    )
    for row in bad[:BAD_SHOWN]:
        out.print(f"  line {row.line}: {row}", highlight=False, markup=False)
    if len(bad) > BAD_SHOWN:
        out.print(f"  … and {len(bad) - BAD_SHOWN} more", highlight=False)
    if found.basis is not None and found.mean_outcome is not None:
        what = "consensus right" if found.basis == "outcomes" else "no truth: quality of the consensus / 10"
        out.print(
            f"outcome: {what}, mean {found.mean_outcome:.3f} in {found.used} trials; "
            f"{found.untold} trials whose question cannot be told",
            highlight=False,
        )
    for comparison in (found.by_question, found.by_trial):
        if comparison is not None:
            out.print()
            out.print(table(_rows(comparison, found.basis), title=_title(comparison)))
            if comparison.question_alone is not None:
                out.print(
                    f"the question alone, over all trials: AUC {comparison.question_alone:.2f} "
                    "(what a shared question gives away)",
                    highlight=False,
                )
    if found.promised is not None:
        told = found.promised
        out.print(
            f"\npromised minus realised, the {TOP_SHARE:.0%} of each held-out question that {told.model} "
            f"scores highest ({told.trials} trials): {told.promised:.3f} − {told.realised:.3f} = "
            f"{_interval(told.difference)}",
            highlight=False,
        )
    out.print()
    for sentence in found.verdict:
        out.print(sentence, highlight=False, markup=False)
    if found.kept is not None:
        out.print(f"kept: {found.kept}", highlight=False)


def _title(comparison: Comparison) -> str:
    within = (
        f"AUC within question over {comparison.questions}"
        if comparison.questions
        else "no AUC within question"
    )
    return f"{comparison.held_out} ({within}; 95 % intervals)"


def _rows(comparison: Comparison, basis: str | None) -> list[dict[str, Any]]:
    loss = "log loss" if basis == "outcomes" else "squared error"
    return [
        {
            "model": f"size + models {step.name}" if step.name.startswith("+") else step.name,
            "AUC": _interval(step.auc),
            loss: _interval(step.loss),
            "against": step.against or "–",
            "AUC gain": _interval(step.auc_gain),
            f"{loss} gain": _interval(step.loss_gain),
        }
        for step in comparison.steps
    ]


def _interval(figure: Estimate | Difference | None) -> str:
    if figure is None or figure.value is None:
        return "·"
    sign = "+" if isinstance(figure, Difference) else ""
    told = f"{figure.value:{sign}.3f}"
    if figure.low is None or figure.high is None:
        return told
    return rf"{told} \[{figure.low:{sign}.3f}, {figure.high:{sign}.3f}]"
