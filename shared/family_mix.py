"""Sets of models by how many families they have: counted exactly, drawn uniformly.

A set of n models with exactly k families: a product of (1 + x)^size - 1 over families, marked by y; the count
is the coefficient of xⁿ yᵏ. Drawing goes through the families with these counts as weights.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal

from shared.errors import NotEnoughModels
from shared.seeding import digest, shuffled

Families = Literal["same", "mixed", "any"]
"""Ensembles of one family, of as many different families as can be, or any."""


def how_many(families: Families, n: int, family: Mapping[str, str]) -> int | None:
    """Families that a set of n of these models has; None: no matter. `family`: model → family.

    Raises `NotEnoughModels` where no such set exists.
    """
    if families == "any":
        return None
    sizes = _sizes(family)
    if families == "same":
        if max(sizes.values(), default=0) < n:
            raise NotEnoughModels(
                f"no family has {n} models that may sit (the largest has {max(sizes.values(), default=0)}): "
                "ask for a smaller ensemble, for --families any, or allow more models for this source"
            )
        return 1
    if len(family) < n or len(sizes) < 2:
        raise NotEnoughModels(
            f"{n} models of different families are asked for, and {len(family)} models of {len(sizes)} "
            "families may sit: ask for a smaller ensemble, for --families any, or allow more models"
        )
    return min(n, len(sizes))


def count(n: int, k: int | None, family: Mapping[str, str]) -> int:
    """Sets of n models with exactly k families (None: any number)."""
    if k is None:
        return math.comb(len(family), n)
    return _count(tuple(sorted(_sizes(family).values())), n, k)


def drawn(n: int, k: int, family: Mapping[str, str], seed: int) -> list[str]:
    """A uniform one of these sets, in seeded random order; the order of `family` has no influence."""
    members = defaultdict(list)
    for model, name in family.items():
        members[name].append(model)
    names = sorted(members, key=lambda name: (len(members[name]), name))
    sizes = tuple(len(members[name]) for name in names)
    taken: list[str] = []
    for place, name in enumerate(names):
        at = int(digest(seed, "family", name), 16) % _count(sizes[place:], n, k)
        for these in range(n + 1):
            here = math.comb(sizes[place], these) * _count(sizes[place + 1 :], n - these, k - (these > 0))
            if at < here:
                break
            at -= here
        taken += shuffled(members[name], seed, "ensemble")[:these]
        n, k = n - these, k - (these > 0)
    return shuffled(taken, seed, "seats")


@cache
def _count(sizes: tuple[int, ...], n: int, k: int) -> int:
    if n < 0 or k < 0:
        return 0
    if not sizes:
        return int(n == 0 and k == 0)
    return sum(
        math.comb(sizes[0], these) * _count(sizes[1:], n - these, k - (these > 0)) for these in range(n + 1)
    )


def _sizes(family: Mapping[str, str]) -> dict[str, int]:
    sizes: dict[str, int] = defaultdict(int)
    for name in family.values():
        sizes[name] += 1
    return dict(sizes)


def fits(models: Iterable[str], k: int | None, family: Mapping[str, str]) -> bool:
    """Whether a set has exactly k families."""
    return k is None or len({family[name] for name in models}) == k
