"""`consilium chemistry show | why | diff`: what was learned of models and pairs, from its snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from db.queries import snapshots, workers
from producers.cli.chemistry.heatmap import svg, terminal
from producers.cli.common import Format, NotFound, database, emit, err, out
from producers.cli.common import table as as_table
from shared.chemistry.snapshot import Chemistry, Learned, PairLearned
from shared.errors import SettingsError

SURE = 1.96
"""An effect within so many standard errors of 0 cannot be told from it (95 %)."""
SIGNS = {
    -1: "synergy: together they cost less than apart",
    0: "no context shows any",
    1: "antagonism: together they cost more than apart",
}
LOW, HIGH = "wrong together more often", "wrong together less often"

Kind = Annotated[str | None, typer.Option("--kind", help="A kind of task, or a parent such as medication.")]
Number = Annotated[int | None, typer.Option("--snapshot", help="Its number; default the one in force.")]
Shown = Annotated[Format, typer.Option("--format", help="table or json.")]


def show(
    kind: Kind = None,
    snapshot: Number = None,
    svg_file: Annotated[Path | None, typer.Option("--svg", help="Write the heat map here too.")] = None,
    format_: Shown = Format.table,
) -> None:
    """Models and pairs of a snapshot, with a heat map of the empirical effects."""
    stored = _stored(snapshot)
    kinds = _kinds(Chemistry.from_json(stored.body), kind)
    if svg_file is not None:
        if len(kinds) != 1:
            raise SettingsError(f"--svg draws one kind: choose it with --kind: {', '.join(kinds)}")
        [(name, learned)] = kinds.items()
        title = f"Pair effects, {name}, chemistry {stored.number}"
        try:
            svg_file.write_text(
                svg(
                    sorted(learned.models),
                    _effects(learned),
                    scale=_scale(learned),
                    title=title,
                    low=LOW,
                    high=HIGH,
                ),
                encoding="utf-8",
            )
        except OSError as error:
            raise SettingsError(f"--svg {svg_file} cannot be written: {error.strerror}") from None
    head = {
        "snapshot": stored.number,
        "form": stored.form,
        "parameters": stored.parameters,
        "purposes": stored.purposes,
        "from": stored.span_from,
        "to": stored.span_to,
        "rows": stored.rows_read,
        "digest": stored.digest,
        "made": stored.created_at,
    }
    if format_ is not Format.table:
        body = Chemistry(kinds=kinds).to_json()["kinds"]
        print(
            json.dumps({**head, "kinds": body}, default=str, indent=None if format_ is Format.ndjson else 2)
        )
        return
    _say_if_failed(stored.number)
    for key, value in head.items():
        words = (
            json.dumps(value)
            if isinstance(value, dict)
            else ", ".join(value)
            if isinstance(value, list)
            else value
        )
        out.print(escape(f"{key:10} {'·' if value is None else words}"), highlight=False)
    for name, learned in kinds.items():
        _show_kind(name, learned)


def _say_if_failed(number: int) -> None:
    with database() as session:
        last = workers.last_run(session, "recompute_chemistry")
    if last is not None and last[1] == "failed":
        err.print(
            f"the last recomputation, begun {last[0]:%Y-%m-%d %H:%M}, failed: snapshot {number} stays in "
            "force; the log of the worker `conclude` says why",
            style="yellow",
            markup=False,
        )


def why(
    a: Annotated[str, typer.Argument(help="A model.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    kind: Kind = None,
    snapshot: Number = None,
    format_: Shown = Format.table,
) -> None:
    """Both numbers of one pair, where they come from, and whether they can be told from 0."""
    stored = _stored(snapshot)
    first, second = sorted((a, b))
    rows = []
    for name, learned in _kinds(Chemistry.from_json(stored.body), kind).items():
        if first not in learned.models or second not in learned.models or a == b:
            continue
        pair = learned.pairs.get((first, second))
        f, g = sorted((learned.models[first].family, learned.models[second].family))
        pooled = learned.families.get((f, g))
        effect, se = learned.effect(first, second, f, g)
        rows.append(
            {
                "kind": name,
                "a": first,
                "b": second,
                "consultations_together": pair.together if pair else 0,
                "effect": effect,
                "effect_se": se,
                "in_words": _words(effect, se),
                "families": f"{f} and {g}",
                "family_effect": pooled[0] if pooled else None,
                "family_effect_se": pooled[1] if pooled else None,
                "chemistry": pair.chemistry if pair else None,
                "sign": pair.sign if pair else 0,
                "chemistry_in_words": _cost_words(pair),
                "context": list(pair.context) if pair else [],
                "strength": dict(learned.strength),
            }
        )
    if not rows:
        raise NotFound(
            f"chemistry {stored.number} knows no kind of task with both models: see `chemistry show`"
        )
    if format_ is not Format.table:
        emit(rows, format_)
        return
    for row in rows:
        for key, value in row.items():
            shown = f"{value:.4f}" if isinstance(value, float) else "·" if value is None else value
            out.print(escape(f"{key.replace('_', ' '):22} {shown}"), highlight=False)
        out.print()


def diff(
    old: Annotated[int, typer.Argument(help="Number of the earlier snapshot.")],
    new: Annotated[int, typer.Argument(help="Number of the later one.")],
    kind: Kind = None,
    format_: Shown = Format.table,
) -> None:
    """What changed between two snapshots, largest first; · stands for not known."""
    before, after = (Chemistry.from_json(_stored(number).body) for number in (old, new))
    both = [_values(_kinds(one, kind, missing_ok=True)) for one in (before, after)]
    rows = []
    for key in sorted(both[0].keys() | both[1].keys()):
        was, now = both[0].get(key), both[1].get(key)
        if was != now:
            change = None if was is None or now is None else now - was
            rows.append(
                (change, dict(zip(("kind", "what", "of"), key, strict=True)) | {"old": was, "new": now})
            )
    # What came or went has no size to compare: it stands first.
    rows.sort(key=lambda row: (row[0] is not None, -abs(row[0] or 0.0)))
    shown: list[dict[str, Any]] = [row | {"change": change} for change, row in rows]
    if not rows and format_ is Format.table:
        out.print(f"chemistry {old} and {new} say the same", markup=False)
        return
    if format_ is Format.table:
        shown = [{k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in shown]
    emit(shown, format_, title=f"Chemistry {old} to {new}")


def _stored(number: int | None) -> snapshots.Stored:
    with database() as session:
        if number is None:
            stored = snapshots.latest(session, "chemistry")
        else:
            stored = snapshots.by_number(session, "chemistry", number)
    if stored is None:
        which = "no chemistry has been learned yet" if number is None else f"there is no chemistry {number}"
        raise NotFound(f"{which}: `consilium chemistry recompute` learns it from stored history")
    return stored


def _kinds(chemistry: Chemistry, kind: str | None, *, missing_ok: bool = False) -> dict[str, Learned]:
    every = {**chemistry.parents, **chemistry.kinds}
    if kind is not None and kind not in every and not missing_ok:
        raise NotFound(
            f"nothing is known of this kind of task; known are: {', '.join(sorted(every)) or 'none'}"
        )
    return {name: every[name] for name in sorted(every) if kind in (None, name)}


def _effects(learned: Learned) -> dict[tuple[str, str], float]:
    return {pair: one.effect for pair, one in learned.pairs.items()}


def _scale(learned: Learned) -> float:
    return max((abs(effect) for effect in _effects(learned).values()), default=0.0) or 0.01


def _show_kind(name: str, learned: Learned) -> None:
    title = f"\n{name}: {learned.consultations:g} consultations, models ranked by {learned.basis}"
    ranking = sorted(learned.models.items(), key=lambda item: (-item[1].value, item[0]))
    rows: Iterable[dict[str, Any]] = (
        {
            "model": model,
            "family": m.family,
            "runs": f"{m.runs:g}",
            "outcomes": f"{m.outcomes:g}",
            "value": f"{m.value:.3f} ± {m.value_se:.3f}",
            "quality": m.quality,
            "latency s": m.latency_s,
            "failures": f"{m.failure_rate:.1%}",
        }
        for model, m in ranking
    )
    out.print(as_table(list(rows), title=escape(title)))
    told = sum(abs(p.effect) > SURE * p.effect_se for p in learned.pairs.values() if p.effect)
    if told:
        out.print(f"\n{told} of {len(learned.pairs)} pairs have an effect that can be told from 0 (95 %)")
    else:
        out.print(
            "\nPairs: no effect can be told from 0; who sits matters, who sits with whom cannot be shown"
        )
    if learned.strength:
        words = ", ".join(f"{key} {value:.4g}" for key, value in learned.strength.items())
        out.print(escape(f"strength of the pair term: {words}"), highlight=False)
    out.print(f"below 0 {LOW} than their own rates say, above 0 {HIGH.removeprefix('wrong together ')}\n")
    out.print(terminal(sorted(learned.models), _effects(learned), scale=_scale(learned)))


def _words(effect: float, se: float) -> str:
    if abs(effect) <= SURE * se or effect == 0:
        return "cannot be told from 0"
    return HIGH if effect > 0 else LOW


def _cost_words(pair: PairLearned | None) -> str:
    if pair is None or pair.chemistry is None:
        return "no context counts"
    return SIGNS[pair.sign]


def _values(kinds: dict[str, Learned]) -> dict[tuple[str, str, str], float | None]:
    """Every number that a snapshot holds of models and pairs, by (kind, what, of whom)."""
    found: dict[tuple[str, str, str], float | None] = {}
    for kind, learned in kinds.items():
        for model, one in learned.models.items():
            numbers = asdict(one)
            for what in ("value", "quality", "accuracy", "latency_s", "failure_rate"):
                found[kind, what, model] = numbers[what]
        for (a, b), pair in learned.pairs.items():
            found[kind, "effect", f"{a} + {b}"] = pair.effect
            found[kind, "chemistry", f"{a} + {b}"] = pair.chemistry
    return found
