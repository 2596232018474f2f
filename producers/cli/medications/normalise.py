"""`consilium medications normalise`: order texts → ingredients, one JSON object a line; no service needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from producers.cli.common import out, table
from shared.errors import ConsiliumError
from shared.medications.order import normalise as read_order


class Shape(StrEnum):
    """How orders are printed."""

    json = "json"
    table = "table"


class NotUtf8(ConsiliumError):
    """Standard input is not UTF-8."""

    exit_code = 2


def normalise(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT…|-]", help='Orders, one each; "-" or none: a line each from standard input.'
        ),
    ] = None,
    format_: Annotated[
        Shape, typer.Option("--format", help="json: an object a line, in the order of the input.")
    ] = Shape.json,
) -> None:
    """Order texts → ingredients with RxNorm ids, strength, route, frequency; what is unknown is said."""
    rows = map(_shown, _lines(texts or ["-"]))
    if format_ is Shape.table:
        out.print(
            table(
                [{**row, **{k: _flat(v) for k, v in row.items() if isinstance(v, Mapping)}} for row in rows]
            )
        )
        return
    for row in rows:
        print(json.dumps(row), flush=True)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Every order, those of "-" as they come in; a blank line is an order that says nothing."""
    for text in texts:
        if text != "-":
            yield text
            continue
        read = 0
        try:
            for line in sys.stdin:
                read += 1
                yield line.rstrip("\r\n")
        except UnicodeDecodeError:
            raise NotUtf8(f"standard input, after line {read}: not UTF-8; convert it first") from None


def _shown(text: str) -> dict[str, Any]:
    order = read_order(text)
    return {
        "text": order.text,
        "ingredients": list(order.ingredients),
        "strength": order.strength,
        "form": order.form,
        "route": order.route,
        "frequency": order.frequency,
        "prn": order.prn,
        "rxcuis": dict(order.rxcuis),
        "unknown": list(order.unknown),
        "classes": list(order.classes),
        "corrected": dict(order.corrected),
    }


def _flat(pairs: Mapping[str, str]) -> list[str]:
    """The pairs of a mapping as a table's cell shows them."""
    return [f"{key} → {value}" for key, value in pairs.items()]
