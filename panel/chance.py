"""Randomness as a function of names: the same parts always give the same number, in any order of calls."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeVar

T = TypeVar("T")
_NORMAL = NormalDist()


def digest(*parts: object) -> str:
    """16 hex characters that stand for `parts`."""
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).hexdigest()


def uniform(*parts: object) -> float:
    """A number in (0, 1), uniform over different `parts`."""
    return (int(digest(*parts), 16) + 0.5) / 2**64


def normal(*parts: object) -> float:
    """A standard normal number."""
    return _NORMAL.inv_cdf(min(max(uniform(*parts), 1e-12), 1 - 1e-12))


def choice(options: Sequence[T], *parts: object) -> T:
    """One of `options`, each with the same probability."""
    return options[min(int(uniform(*parts) * len(options)), len(options) - 1)]
