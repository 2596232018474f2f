"""`consilium medications check`: what the safety rules find about a list of drugs; no service needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from producers.cli.common import err, out
from shared.errors import ConsiliumError
from shared.medications import Order, ingredients, is_unknown, normalise
from shared.safety.finding import Finding
from shared.safety.patient import Patient, patient_from
from shared.safety.rules import load
from shared.safety.screen import check as screen
from shared.schemas import Context, Vignette

PLAIN: dict[str, Any] = {"markup": False, "highlight": False}


class Shape(StrEnum):
    """How the findings are printed."""

    table = "table"
    json = "json"


class BadInput(ConsiliumError):
    """The list or the patient cannot be read; the message names file and field."""

    exit_code = 2


def check(
    orders: Annotated[
        str,
        typer.Argument(
            metavar="LIST",
            help='Drugs separated by ";" or ","; or a file, or "-" for standard input, with an order a line; '
            "or a JSON list of them.",
        ),
    ],
    patient: Annotated[
        Path | None,
        typer.Option(help="JSON of a vignette or of its context; without it the list alone is looked at."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="A site's own rules, on top of the built-in ones.")
    ] = None,
    format_: Annotated[Shape, typer.Option("--format", help="How to print.")] = Shape.table,
) -> None:
    """Interactions, allergies, duplicates and limits of a list for a patient.

    Exit code 0 whatever is found: a finding is a result, not an error.
    """
    knowledge = load(rules)
    listed = [(text, normalise(text)) for text in _orders(orders)]
    context, story = _patient(patient)
    taken = [(drug.name, normalise(f"{drug.name} {drug.dose or ''}")) for drug in context.medications]
    known = patient_from(context, story)
    routes: dict[str, list[Order]] = {}
    for text, order in [*listed, *taken]:
        for code in ingredients(text):
            routes.setdefault(code, []).append(order)
    written = {
        code: part
        for _, order in [*listed, *taken]
        for part in order.unknown
        for code in filter(is_unknown, ingredients(part))
    }
    drugs = [
        code
        for text, order in listed
        for code in ingredients(text)
        if not (is_unknown(code) and order.classes) or code in written  # a class is no drug
    ]
    shown = {
        "drugs": [written.get(code, code) for code in dict.fromkeys(drugs)],
        "findings": [_row(finding, written) for finding in screen(drugs, known, knowledge, orders=routes)],
        "unknown": list(dict.fromkeys(part for _, order in listed for part in order.unknown)),
        "classes": list(dict.fromkeys(name for _, order in listed for name in order.classes)),
        "patient": _facts(known, written),
        "knowledge": {"version": knowledge.version, "digest": knowledge.digest},
    }
    if format_ is Shape.json:
        print(json.dumps(shown, indent=2))
    else:
        _print(shown)


def _row(finding: Finding, written: Mapping[str, str]) -> dict[str, Any]:
    """A finding as it is printed: unknown drugs as they were written."""
    return {
        **vars(finding),
        "drug": written.get(finding.drug, finding.drug),
        "other": written.get(finding.other, finding.other),
        "severity": str(finding.severity),
        "modifiers": list(finding.modifiers),
    }


def _facts(patient: Patient, written: Mapping[str, str]) -> dict[str, Any]:
    """The patient as he was understood."""
    return {
        **vars(patient),
        "allergies": sorted(patient.allergies),
        "current": [written.get(code, code) for code in patient.current],
        "conditions": sorted(patient.conditions),
    }


def _print(shown: Mapping[str, Any]) -> None:
    for found in shown["findings"]:
        about = found["effect"] + (f" ({found['source']})" if found["source"] else "")
        with_ = "" if found["other"] == found["drug"] else f" with {found['other'].replace('_', ' ')}"
        out.print(f"{found['severity']:<16}{found['drug']}{with_}, {found['kind']}: {about}", **PLAIN)
        for more in (found["mechanism"], "; ".join(found["modifiers"]), found["advice"]):
            if more:
                out.print(f"{'':<16}{more}", style="dim", **PLAIN)
    if not shown["findings"]:
        out.print("Nothing found.")
    for key, what in (("unknown", "no known drug, so not looked at"), ("classes", "a class, no drug")):
        if shown[key]:
            err.print(f"{', '.join(shown[key])}: {what}", markup=False)


def _orders(text: str) -> list[str]:
    """The orders of the argument. Raises `BadInput`."""
    where = ""
    if text == "-":
        where, text = "standard input", sys.stdin.read()
    elif not text.lstrip().startswith("[") and Path(text).is_file():
        where, text = text, _text(Path(text))
    if text.lstrip().startswith("["):
        lines = _listed(text, where or "LIST")
    elif where:
        lines = text.splitlines()
    else:
        lines = text.split(";" if ";" in text else ",")
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise BadInput("LIST: no order in it; name drugs, a file of orders, or - for standard input")
    return found


def _listed(text: str, where: str) -> list[str]:
    """A JSON list of orders: texts, or objects with a name and perhaps dose, route and frequency."""
    try:
        orders = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    found = []
    for number, order in enumerate(orders):
        parts = (
            [order.get(name) for name in ("name", "dose", "route", "frequency")] if _named(order) else [order]
        )
        if not all(isinstance(part, str) for part in parts if part is not None):
            raise BadInput(f'{where}, [{number}]: an order is a text, or an object with a "name"')
        found.append(" ".join(part for part in parts if part))
    return found


def _named(order: Any) -> bool:
    return isinstance(order, dict) and "name" in order


def _patient(path: Path | None) -> tuple[Context, str]:
    """The context and the text of a patient's file. Raises `BadInput` naming the field."""
    if path is None:
        return Context(), ""
    try:
        value = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    if isinstance(value, dict) and len(value) == 1:
        value = value.get("patient", value.get("context", value))
    try:
        if isinstance(value, dict) and "vignette" in value:
            vignette = Vignette.model_validate(value)
            return vignette.context, vignette.vignette
        return Context.model_validate(value), ""
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput(f"{path}, field {field}: {first['msg']}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8: save it as UTF-8") from None
