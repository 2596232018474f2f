"""`consilium ensemble`: whom a strategy would draw now, and why."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Annotated, Any

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.queries import choices, snapshots
from db.tables import Source
from producers.cli.common import Format, NotFound, database, out, registry, table
from producers.seating import dials_of, seat_prices
from shared.chemistry.snapshot import Chemistry
from shared.choosing import Choice, Dials, choose
from shared.errors import SettingsError
from shared.family_mix import Families
from shared.policy import Policy
from shared.registry import Registry
from shared.selection import LEARNED, Candidate, Strategy, candidate, draw
from shared.settings import Settings, get_settings

_FAMILIES: tuple[Families, ...] = ("any", "same", "mixed")
_FORMATS = (Format.table, Format.json)


def ensemble(
    strategy: Annotated[Strategy, typer.Option(help="How to choose.")] = Strategy.CHEMISTRY,
    n: Annotated[int, typer.Option("--n", help="Models in the ensemble.")] = 3,
    kind: Annotated[str, typer.Option(help="Kind of task.")] = "medication/general",
    source: Annotated[str, typer.Option(help="Whose policy says who may sit.")] = "local",
    families: Annotated[str, typer.Option(help="any, same or mixed.")] = "any",
    explain: Annotated[
        bool, typer.Option("--explain", help="Parts of the score, near-equals, record.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """Whom it would draw now: nothing is stored, and no model is asked."""
    if strategy is Strategy.FIXED:
        raise SettingsError("FIXED draws whom you name: there is nothing to choose")
    wanted = next((f for f in _FAMILIES if f == families), None)
    if wanted is None:
        raise SettingsError(f"--families {families}: one of {', '.join(_FAMILIES)}")
    if format_ not in _FORMATS:
        raise SettingsError(f"--format {format_}: table or json")
    models, settings = registry(), get_settings()
    with database() as session:
        shown = _shown(session, models, settings, strategy, n, kind, source, wanted)
    if format_ is Format.json:
        print(json.dumps(shown, indent=2))
    else:
        _print(shown, explain=explain)


def _shown(
    session: Session,
    models: Registry,
    settings: Settings,
    strategy: Strategy,
    n: int,
    kind: str,
    source: str,
    families: Families,
) -> dict[str, Any]:
    """All that is said, as plain JSON. Raises `NotFound` for an unknown source, `NotEnoughModels`."""
    found = session.execute(select(Source).where(Source.name == source)).scalar_one_or_none()
    if found is None:
        raise NotFound(f"no source named {source!r}: `consilium sources list` names them")
    policy = Policy.model_validate(found.policy)
    candidates = [c for m in models.values() if policy.allows(c := candidate(m))]
    snapshot = snapshots.latest(session, "chemistry")
    learned = None if snapshot is None else Chemistry.from_json(snapshot.body).of(kind)
    dials = dials_of(settings)
    choice = choose(
        strategy, n, candidates, learned, dials, seat_prices(list(models.values()), n, settings), families
    )
    drawn = draw(
        strategy, n, candidates, 0, choice=choice, explore_share=dials.explore_share, families=families
    )
    record = choices.realised(session, kind, strategy) if strategy in LEARNED else []
    return {
        "asked": str(strategy),
        "draws_as": str(drawn.strategy),
        "n": n,
        "kind": kind,
        "families": families,
        "snapshot": None if snapshot is None else snapshot.number,
        "allowed": list(drawn.allowed),
        "choice": None if choice is None else _chosen(choice),
        "strength": {} if learned is None else dict(learned.strength),
        "exploration": _exploration(choice, dials, candidates),
        "realised": [asdict(row) for row in record],
    }


def _chosen(choice: Choice) -> dict[str, Any]:
    return {
        **choices.brief(choice),
        "basis": choice.basis,
        "interval": list(_interval(choice.value, choice.value_se)),
        "near_equal": choice.near_equal,
        "all_sets_looked_at": choice.exact,
        "weakest": choice.weakest,
        "alternatives": [choices.brief(other) for other in choice.alternatives],
    }


def _exploration(choice: Choice | None, dials: Dials, candidates: list[Candidate]) -> dict[str, Any]:
    without = [] if choice is None else list(choice.without_history)
    return {
        "share": 0.0 if choice is None else dials.explore_share,
        "without_history": without,
        "candidates": len(candidates),
    }


def _interval(value: float, se: float) -> tuple[float, float]:
    return max(0.0, value - 1.96 * se), min(1.0, value + 1.96 * se)


def _print(shown: dict[str, Any], *, explain: bool) -> None:
    choice = shown["choice"]
    if choice is None:
        if shown["asked"] != shown["draws_as"]:
            out.print(
                f"No history of {shown['kind']} to choose by: {shown['asked']} draws as {shown['draws_as']}, "
                f"{shown['n']} of {len(shown['allowed'])} models, and is stored so."
            )
        else:
            out.print(f"{shown['asked']} draws {shown['n']} of {len(shown['allowed'])} models at random.")
        out.print(", ".join(shown["allowed"]))
        return
    low, high = choice["interval"]
    scale = "P(majority right)" if choice["basis"] == "outcomes" else "consensus grade"
    out.print(f"[bold]{', '.join(choice['models'])}[/bold]   {shown['asked']}, snapshot {shown['snapshot']}")
    out.print(
        f"promises {scale} {choice['value']:.3f} (95 % interval {low:.3f} to {high:.3f}); the best "
        f"of many estimates is too high by construction: {choice['near_equal']} other sets lie within one "
        "standard error"
    )
    exploration = shown["exploration"]
    who = ", ".join(exploration["without_history"])
    instead = f"{who} in turn for {choice['weakest']} (no history yet)" if who else "a random set"
    out.print(f"explores in {exploration['share']:.0%} of consultations: {instead}")
    if explain:
        _explain(shown, choice)


def _explain(shown: dict[str, Any], choice: dict[str, Any]) -> None:
    parts = choice["parts"]
    signs = {"members": "", "pairs": "+ ", "optimism": "+ ", "latency": "- ", "price": "- ", "failures": "- "}
    rows = [{"part": f"{sign}{name}", "value": f"{parts[name]:.4f}"} for name, sign in signs.items()]
    out.print(table([*rows, {"part": "= score", "value": f"{parts['score']:.4f}"}], title="score"))
    out.print(
        f"expected: {parts['minutes']:.2f} minutes, {parts['usd']:.4f} USD, "
        f"{parts['lost_seats']:.3f} seats lost"
    )
    for name, assumed in (("prices", "dearest"), ("latencies", "slowest")):
        if unknown := int(parts[f"unknown_{name}"]):
            out.print(f"{unknown} of the {name} not known: taken as the {assumed} known")
    if shown["strength"]:
        found = ", ".join(f"{name.replace('_', ' ')} {sd:.3f}" for name, sd in shown["strength"].items())
        out.print(f"spread of pair effects found in the data (standard deviations; 0: none): {found}")
    if choice["alternatives"]:
        others = [
            {
                "instead": other["models"],
                "score": f"{other['parts']['score']:.4f}",
                "value": f"{other['value']:.4f}",
                "se": f"{other['value_se']:.4f}",
                "members": f"{other['parts']['members']:.4f}",
                "pairs": f"{other['parts']['pairs']:+.4f}",
            }
            for other in choice["alternatives"]
        ]
        out.print(table(others, title="alternatives"))
    known = [row for row in shown["realised"] if row["known"]]
    if not known:
        out.print("realised so far: nothing is known yet of consultations so chosen")
    for row in known:
        se = math.nan if row["realised_se"] is None else row["realised_se"]
        out.print(
            f"realised so far ({row['basis']}): {row['realised']:.3f} ± {se:.3f} "
            f"(weighted {row['weighted']:.3f}) "
            f"against {row['promised']:.3f} promised, {row['known']} of {row['drawn']} consultations"
        )
