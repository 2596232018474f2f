"""`consilium chemistry table`: the chemistry of a history file, or of models given by number; no service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from producers.cli.chemistry.heatmap import terminal
from producers.cli.common import Format, err, out
from producers.cli.common import table as as_table
from producers.readers.history_csv import BadRow, read_history
from shared.chemistry.cost import Rated, penalty
from shared.chemistry.default import shrunk_means
from shared.chemistry.pairs import strongest
from shared.chemistry.reference import FLOOR, best_rows
from shared.errors import ConsiliumError, SettingsError
from shared.history import HistoryRow, mixture

NUMBERS = {"quality": 10.0, "accuracy": 1.0}
SHOWN_BAD = 10


class Form(StrEnum):
    """Which form of the algorithm."""

    reference = "reference"
    default = "default"


class BadModels(ConsiliumError):
    """The file holds no models that chemistry can be told of; the message names the place and the remedy."""

    exit_code = 2


def table(
    file: Annotated[
        Path, typer.Argument(help="A history (CSV, gzip too), or a JSON list of model, quality, accuracy.")
    ],
    form: Annotated[Form, typer.Option(help="reference: as published; default: signed, over means.")] = (
        Form.default
    ),
    threshold: Annotated[float, typer.Option(help="A model is used if its accuracy is above this.")] = 0.5,
    task: Annotated[str | None, typer.Option("--task", "--kind", help="Which task of a history.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """How strongly each pair of models changes what an ensemble costs; absent pairs have no context."""
    if not 0 <= threshold <= 1:
        raise SettingsError("--threshold must be from 0 to 1")
    given_json = file.suffix.lower() == ".json"
    rated = _from_json(file) if given_json else _from_history(file, form, task)
    if form is Form.reference:
        rated = [replace(m, accuracy=max(m.accuracy, FLOOR)) for m in rated]
    found = strongest(rated, usage=threshold, empty_context=form is Form.reference)
    models = [
        {
            "model": m.name,
            "quality": m.quality,
            "accuracy": m.accuracy,
            "penalty": penalty(m),
            "used": m.accuracy > threshold,
        }
        for m in sorted(rated, key=lambda m: m.name)
    ]
    pairs = [
        {"a": a, "b": b, "chemistry": one.value, "sign": one.sign, "context": list(one.context)}
        for (a, b), one in found.items()
    ]
    if format_ is not Format.table:
        shown = {"form": form, "threshold": threshold, "models": models, "pairs": pairs}
        print(json.dumps(shown, indent=None if format_ is Format.ndjson else 2))
        return
    out.print(as_table(models, title="Models"))
    out.print(as_table(pairs, title="\nPairs: −1 synergy, +1 antagonism, at the context where it is largest"))
    names = [str(m["model"]) for m in models]
    out.print()
    out.print(terminal(names, {pair: one.sign * one.value for pair, one in found.items()}, scale=1.0))


def _from_history(path: Path, form: Form, task: str | None) -> list[Rated]:
    bad: list[BadRow] = []
    tasks: dict[str, list[HistoryRow]] = {}
    for row in read_history(path):
        if isinstance(row, BadRow):
            bad.append(row)
        else:
            tasks.setdefault(row.task, []).append(
                replace(row, result="")
            )  # the text is not needed: forget it
    for one in bad[:SHOWN_BAD]:
        err.print(escape(f"{path}, line {one.line}: {one}"), highlight=False)
    if bad:
        err.print(escape(f"{len(bad)} rows of {path} could not be read and do not count"), highlight=False)
    if task is None and len(tasks) > 1:
        raise BadModels(
            f"{path} holds {len(tasks)} tasks: choose one with --task: {'; '.join(sorted(tasks))}"
        )
    chosen = task if task is not None else next(iter(tasks), "")
    if chosen not in tasks:
        there = f"it has: {'; '.join(sorted(tasks))}" if tasks else "it has no row that can be read"
        raise BadModels(f"{path}: no row of this task; {there}")
    if form is Form.reference:
        rated = [model for model, _ in best_rows(tasks[chosen]).get(chosen, {}).values()]
    else:
        rated = shrunk_means(
            row
            if row.accuracy is not None
            else replace(row, accuracy=mixture(row.generation_accuracy, row.review_accuracy, row.quality))
            for row in tasks[chosen]
        )
    if not rated:
        raise BadModels(f"{path}: no row has both a quality and an accuracy")
    return rated


def _from_json(path: Path) -> list[Rated]:
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadModels(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadModels(f"{path} is not UTF-8: save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadModels(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise BadModels(f"{path} is nested too deeply: a list of objects is asked for") from None
    if not isinstance(given, list) or not given:
        raise BadModels(f'{path}: a list of {{"model", "quality", "accuracy"}} is asked for')
    models = list(_models(path, given))
    names = [m.name for m in models]
    for number, name in enumerate(names, start=1):
        if name in names[: number - 1]:
            raise BadModels(f"{path}, object {number}, model: comes a second time; each model may come once")
    return models


def _models(path: Path, given: list[Any]) -> Iterator[Rated]:
    for number, one in enumerate(given, start=1):
        where = f"{path}, object {number}"
        if not isinstance(one, dict):
            raise BadModels(f"{where}: not an object with model, quality, accuracy")
        name = one.get("model")
        if not isinstance(name, str) or not name.strip():
            raise BadModels(f"{where}, model: a name is asked for")
        values = []
        for key, most in NUMBERS.items():
            value = one.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise BadModels(f"{where}, {key}: a number from 0 to {most:g} is asked for")
            values.append(float(value))
        yield Rated(name, *values)
