"""Drawing who sits together (algorithms, section 4).

The candidates are those the source's policy allows. The seed, the probability of the drawn set and who was
allowed are part of the draw, so that history can be reweighted later. What PERFORMANCE and CHEMISTRY choose
comes from `shared.choosing`; here it is drawn, but for a small share that explores: by the consultation's
seed alone, whatever its vignette, source and urgency.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from shared.errors import NotEnoughModels, SettingsError
from shared.family_mix import Families, count, drawn, fits, how_many
from shared.registry import Model
from shared.seeding import digest, shuffled

if TYPE_CHECKING:
    from shared.chemistry.snapshot import Learned
    from shared.choosing import Choice

SIZES = range(1, 13)
"""Sizes of an ensemble: 2 to 12, and a single model where it is named (FIXED)."""


class Strategy(StrEnum):
    """How an ensemble is chosen."""

    LOCAL = "LOCAL"
    REMOTE = "REMOTE"
    RANDOM = "RANDOM"
    PERFORMANCE = "PERFORMANCE"
    CHEMISTRY = "CHEMISTRY"
    FIXED = "FIXED"


@dataclass(frozen=True)
class Candidate:
    """What a draw and a policy must know of a model."""

    name: str
    family: str
    location: Literal["local", "remote"]
    simulated: bool


def candidate(model: Model) -> Candidate:
    """A model of the registry as a draw and a policy see it."""
    return Candidate(model.name, model.family, model.location, model.simulated)


@dataclass(frozen=True)
class Draw:
    """A drawn ensemble. `probability` is that of the set, whoever sits where; None where it is not known."""

    models: tuple[str, ...]  # in the order of the seats
    probability: float | None
    allowed: tuple[str, ...]  # who could have been drawn, sorted
    seed: int
    strategy: Strategy  # as it was drawn: RANDOM where there was no history to choose by
    explored: bool = False


def draw(
    strategy: str,
    n: int,
    candidates: Iterable[Candidate],
    seed: int,
    fixed: Sequence[str] = (),
    *,
    choice: Choice | None = None,
    explore_share: float = 0.0,
    families: Families = "any",
) -> Draw:
    """Draw n models (2 to 12); seats are in random order, and the candidates' order has no influence.

    LOCAL, REMOTE and RANDOM are uniform over the sets that `families` leaves. PERFORMANCE and CHEMISTRY take
    the `choice`, but explore with probability `explore_share`: then a model without history sits in for the
    choice's weakest where one may, else the set is uniform; without a choice they draw as RANDOM and say so.
    FIXED takes the models of `fixed` in that order, whatever n is; all must be candidates, and one is enough.

    Raises `NotEnoughModels` with the numbers and a remedy, `SettingsError` for an unknown strategy, a size
    out of range or a name given twice.
    """
    if strategy not in Strategy.__members__:
        raise SettingsError(f"unknown strategy {strategy!r}: one of {', '.join(Strategy)}")
    chosen = Strategy(strategy)
    size = len(fixed) if chosen is Strategy.FIXED else n
    if size not in SIZES or (size == 1 and chosen is not Strategy.FIXED):
        raise SettingsError(
            f"an ensemble has 2 to {SIZES.stop - 1} models, not {size}; a single one is asked for with FIXED"
        )
    family = {
        c.name: c.family
        for c in candidates
        if chosen not in (Strategy.LOCAL, Strategy.REMOTE) or c.location == chosen.lower()
    }
    allowed = tuple(sorted(family))
    if chosen is Strategy.FIXED:
        return Draw(_fixed(fixed, set(family)), 1.0, allowed, seed, chosen)
    if len(family) < size:
        raise NotEnoughModels(
            f"{chosen} needs {size} models and the source's policy and the registry leave {len(family)}: "
            "ask for a smaller ensemble, another strategy, or allow more models for this source"
        )
    wanted = how_many(families, size, family)
    uniform = 1 / count(size, wanted, family)
    if chosen not in LEARNED or choice is None:
        said = Strategy.RANDOM if chosen in LEARNED else chosen
        return Draw(_uniform(size, wanted, family, seed), uniform, allowed, seed, said)
    if len(choice.models) != size or not set(choice.models) <= family.keys():
        raise SettingsError("the choice is of other candidates or of another size than this draw")
    explores = _chance(seed) < explore_share
    newcomers = {
        name: tried
        for name in choice.without_history
        if name in family and fits(tried := _instead(choice, name), wanted, family)
    }
    if not explores:
        models = tuple(shuffled(choice.models, seed, "seats"))
    elif newcomers:
        models = tuple(shuffled(newcomers[shuffled(newcomers, seed, "newcomer")[0]], seed, "seats"))
    else:
        models = _uniform(size, wanted, family, seed)
    probability = (1 - explore_share) * (set(models) == set(choice.models))
    if not newcomers:
        probability += explore_share * uniform
    elif set(models) != set(choice.models):
        probability += explore_share / len(newcomers)
    return Draw(models, probability, allowed, seed, chosen, explores)


LEARNED = (Strategy.PERFORMANCE, Strategy.CHEMISTRY)
"""Strategies that choose by history."""


def substitutes(
    strategy: str,
    allowed: Iterable[str],
    seated: Collection[str],
    *,
    seed: int,
    staying: Collection[str] = (),
    learned: Learned | None = None,
    families: Families = "any",
    family: Mapping[str, str] | None = None,
) -> list[str]:
    """Who takes a seat that is lost, in order: the next of the same strategy. A fixed list has nobody else.

    `allowed` are those of the draw, `seated` who sits or has sat, `staying` who keeps a seat. Chance
    goes on with its draw; PERFORMANCE with its ranking; CHEMISTRY with whoever makes the best ensemble
    with those who stay; models without history come last. With `families` and `family` (model → family)
    those come first who keep it as it was asked for.
    """
    if strategy == Strategy.FIXED:
        return []
    order = [name for name in shuffled(allowed, seed, "ensemble") if name not in seated]
    if strategy in LEARNED and learned is not None:
        merit = _merits(strategy, order, staying, learned)
        order.sort(key=lambda name: (-merit[name], name) if name in merit else (1.0, ""))
    if families != "any" and family is not None:
        beside = {family[name] for name in staying if name in family}
        same = families == "same"
        order.sort(key=lambda name: bool(beside) and (family.get(name) in beside) is not same)
    return order


def _merits(
    strategy: str, names: Sequence[str], staying: Collection[str], learned: Learned
) -> dict[str, float]:
    """How good each of the known ones is in the lost seat."""
    known = [name for name in names if name in learned.models]
    if strategy == Strategy.PERFORMANCE:
        return {name: learned.models[name].value for name in known}
    from shared.chemistry.ensemble_value import beside  # numpy, which few processes that draw need

    return beside(known, [name for name in staying if name in learned.models], learned)


def _uniform(n: int, wanted: int | None, family: Mapping[str, str], seed: int) -> tuple[str, ...]:
    if wanted is None:
        return tuple(shuffled(family, seed, "ensemble")[:n])
    return tuple(drawn(n, wanted, family, seed))


def _instead(choice: Choice, newcomer: str) -> tuple[str, ...]:
    return (*(name for name in choice.models if name != choice.weakest), newcomer)


def _chance(seed: int) -> float:
    """Uniform in [0, 1), from the seed alone."""
    return int(digest(seed, "explore")[:13], 16) / 16**13


def _fixed(fixed: Sequence[str], pool: set[str]) -> tuple[str, ...]:
    if len(set(fixed)) != len(fixed):
        raise SettingsError("the fixed list names a model twice: each may sit once")
    if missing := [name for name in fixed if name not in pool]:
        raise NotEnoughModels(
            f"FIXED names {len(fixed)} models, of which {len(missing)} are not in the registry or not "
            f"allowed by the source's policy ({', '.join(missing)}): correct the list, or allow them"
        )
    return tuple(fixed)
