"""Draws from a recorded seed: every random choice that must be repeatable is an order by digests.

SHA-256 of the seed and what is drawn, so a draw is the same on every machine and Python version, does not
depend on the order in which the things are given, and one thing more or less leaves the others' order alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T", int, str)


def digest(seed: int, *about: int | str) -> str:
    """64 hex digits that depend on the seed and on every part, and on nothing else."""
    return hashlib.sha256(json.dumps([seed, *about]).encode()).hexdigest()


def shuffled(things: Iterable[T], seed: int, *about: int | str) -> list[T]:
    """Distinct things in an order that is uniform over the seeds."""
    return sorted(things, key=lambda thing: digest(seed, *about, thing))
