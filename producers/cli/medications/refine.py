"""`consilium medications refine`: proposals of several seats → one safe list and why; no service needed.

    {"patient": {"age": 74, "conditions": ["atrial fibrillation"], "allergies": ["penicillin"],
                 "medications": [{"name": "Coumadin 5 mg"}], "egfr": 55},
     "seats": [{"medications": ["Lopressor 25 mg bid", "ibuprofen 400 mg prn"], "grade": 0.8},
               {"medications": [{"name": "metoprolol", "action": "start", "route": "oral"}]}]}

`patient` is the context of a vignette. A seat is an answer: orders as text, or as a model writes them;
"decision" and "grade" (its consensus grade in [0, 1]) may be left out.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from rich.markup import escape

from producers.cli.common import out, table
from shared.consensus import Refinement
from shared.errors import ConsiliumError, SettingsError
from shared.medications import Order, ingredients, is_unknown, normalise
from shared.refinement import Dials, Terms, in_words
from shared.refinement import refine as refine_list
from shared.refinement.build import build
from shared.safety.patient import patient_from
from shared.safety.rules import load
from shared.schemas import Context, Recommendation, Strict
from shared.support import GAMMA, support


class Shape(StrEnum):
    """How the result is printed."""

    table = "table"
    json = "json"


class BadProposals(ConsiliumError):
    """The file cannot be read as proposals; the message names file and field."""

    exit_code = 2


class Seat(Recommendation):
    """One seat's answer. An order may be text alone: then it is started."""

    model_config = ConfigDict(extra="forbid")

    grade: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)

    @field_validator("medications", mode="before")
    @classmethod
    def _texts_are_started(cls, orders: Any) -> Any:
        if not isinstance(orders, list):
            return orders
        return [{"name": order, "action": "start"} if isinstance(order, str) else order for order in orders]

    @model_validator(mode="before")
    @classmethod
    def _decided(cls, seat: Any) -> Any:
        if not isinstance(seat, dict):
            return seat
        return {"decision": "recommend" if seat.get("medications") else "no_medication"} | seat

    def codes(self, action: str) -> frozenset[str]:
        """The ingredient codes of its orders with this action."""
        return frozenset(c for m in self.medications if m.action == action for c in ingredients(m.name))


class Proposals(Strict):
    """What the file holds."""

    patient: Context = Field(default_factory=Context)
    seats: list[Seat] = Field(min_length=1)


def refine(
    proposals: Annotated[
        Path, typer.Argument(metavar="PROPOSALS.json", help='Patient and seats; "-": standard input.')
    ],
    lambda_: Annotated[
        float, typer.Option("--lambda", help="Support lost per unit of severity: safety against accuracy.")
    ] = Dials.severity,
    same_class: Annotated[float, typer.Option(help="Support lost per pair of one class.")] = Dials.same_class,
    treats: Annotated[float, typer.Option(help="Support gained per condition treated.")] = Dials.treats,
    gamma: Annotated[float, typer.Option(help="Weight of an answer's grade in its drugs' support.")] = GAMMA,
    rules: Annotated[Path | None, typer.Option(help="CSV with the site's own safety rules.")] = None,
    format_: Annotated[Shape, typer.Option("--format", help="How to print.")] = Shape.table,
) -> None:
    """The safe list of most utility among what several answers propose, each step explained."""
    if not 0 <= gamma < math.inf:
        raise SettingsError("--gamma must be a finite number of at least 0")
    found = refined(_read(proposals), Dials(lambda_, same_class, treats), gamma, rules)
    if format_ is Shape.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)


def refined(given: Proposals, dials: Dials, gamma: float, rules: Path | None) -> dict[str, Any]:
    """All that comes of the proposals, as JSON. Raises `KnowledgeError` for a bad rule file."""
    patient, knowledge = patient_from(given.patient), load(rules)
    seats = dict(enumerate(given.seats, start=1))
    named = {number: seat.codes("start") - {*patient.current} for number, seat in seats.items()}
    majority = _majority(named.values(), len(seats))
    orders = list(_orders(given))
    problem = build(
        {drug for drugs in named.values() for drug in drugs},
        patient,
        knowledge,
        stopped=_majority((seat.codes("stop") for seat in seats.values()), len(seats)),
        orders=_by_ingredient(orders),
    )
    grades = {number: seat.grade for number, seat in seats.items() if seat.grade is not None}
    supports = support(
        named,
        {number: f"seat {number}" for number in seats},
        grades,
        None,
        kind="medication/general",
        gamma=gamma,
    )
    result = refine_list(
        problem,
        supports,
        majority,
        {d: math.fsum(grades.get(n, 0.0) for n, drugs in named.items() if d in drugs) for d in supports},
        dials,
        unanimous=frozenset.intersection(*named.values()),
        instead=_best_first(named, grades) if gamma else (),
    )
    as_json = result.to_json()
    return {
        "majority": list(majority),
        "refined": list(result.drugs),
        "method": result.method,
        "feasible": result.feasible,
        "utility": _with_total(result.utility),
        "start": _with_total(result.start),
        "edits": [
            {**shown, "gain": _with_total(edit.gain), "words": in_words(edit)}
            for shown, edit in zip(as_json["edits"], result.edits, strict=True)
        ],
        "findings": [
            vars(finding) for finding in Refinement(problem, majority, dials, gamma, result).remaining
        ],
        "support": supports,
        "current": list(problem.current),
        "dials": {**dials.to_json(), "grade": gamma},
        "knowledge": knowledge.digest,
        "unknown": _unknown(given),
        "corrected": dict(sorted({k: v for order in orders for k, v in order.corrected.items()}.items())),
    }


def _best_first(named: Mapping[int, frozenset[str]], grades: Mapping[int, float]) -> list[frozenset[str]]:
    """Where most seats propose something: the graded lists, the best first."""
    if sum(map(bool, named.values())) <= len(named) / 2:
        return []
    return [named[n] for n in sorted(grades, key=lambda n: (-grades[n], n)) if named[n]]


def _majority(lists: Iterable[frozenset[str]], n: int) -> tuple[str, ...]:
    """What more than half of the seats name."""
    counts = Counter(drug for drugs in lists for drug in drugs)
    return tuple(sorted(drug for drug, votes in counts.items() if votes > n / 2))


def _orders(given: Proposals) -> Iterator[Order]:
    """Every order, read with what stands beside its name."""
    for medication in given.patient.medications:
        yield normalise(f"{medication.name} {medication.dose or ''}")
    for seat in given.seats:
        for m in seat.medications:
            if m.action != "stop":
                yield normalise(f"{m.name} {m.dose} {m.route} {m.frequency}")


def _by_ingredient(orders: Iterable[Order]) -> dict[str, list[Order]]:
    found: dict[str, list[Order]] = {}
    for order in orders:
        for code in order.ingredients:
            found.setdefault(code, []).append(order)
    return found


def _unknown(given: Proposals) -> list[dict[str, str]]:
    """What is no known drug, by its code: names as written, class names among them."""
    names = {m.name for seat in given.seats for m in seat.medications}
    names |= {m.name for m in given.patient.medications}
    found = ((code, name) for name in names for code in ingredients(name) if is_unknown(code))
    return [{"code": code, "text": name} for code, name in sorted(found)]


def _with_total(terms: Terms) -> dict[str, float]:
    return {**terms.to_json(), "total": terms.total}


def _show(found: dict[str, Any]) -> None:
    """The lists side by side, what each step gained, and what remains."""
    texts = {one["code"]: f"{one['text']} (unknown)" for one in found["unknown"]}

    def said(text: str) -> str:
        for code, name in texts.items():
            text = text.replace(code, name)
        return escape(text)

    marks = {True: "×", False: ""}
    drugs = [
        {"drug": said(d), "support": p, **{k: marks[d in found[k]] for k in ("majority", "refined")}}
        for d, p in found["support"].items()
    ]
    out.print(table(drugs) if drugs else "No seat proposes a drug.")
    steps = [
        {"step": "majority", **found["start"]},
        *({"step": said(edit["words"]), **edit["gain"]} for edit in found["edits"]),
        {"step": f"refined ({found['method']})", **found["utility"]},
    ]
    out.print(table(steps))
    if not found["feasible"]:
        out.print("Every drug that was proposed is barred: no list is feasible.", style="bold red")
    if found["findings"]:
        remaining = [
            {
                "severity": one["severity"].value,
                "remains": said(f"{one['drug']}, {one['other']}".replace("_", " ")),
                "effect": said(one["effect"]),
                "source": said(one["source"]),
            }
            for one in found["findings"]
        ]
        out.print(table(remaining))


def _read(path: Path) -> Proposals:
    name = "standard input" if str(path) == "-" else str(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
        return Proposals.model_validate(json.loads(text))
    except OSError as error:
        raise BadProposals(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadProposals(f"{name} is not UTF-8: save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadProposals(f"{name}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValidationError as error:
        wrong = [f"{name}, {'.'.join(map(str, e['loc'])) or 'top'}: {e['msg']}" for e in error.errors()]
        raise BadProposals("\n".join(wrong)) from None
