"""The fault suite in a small form: five scenarios on one set; `make faults` runs all of it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.faults.bench import Bench
from tests.faults.play import play
from tests.faults.registry import THREADS, scenarios

SIZES = {"1": 6, "3 threads": 8, "5": 5, "6": 6, "9": 6}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A running set; the seed of the faults is printed when one fails."""
    seed = int(os.environ.get("CONSILIUM_TEST_SEED", random.randrange(10**6)))
    print(f"seed {seed}")
    with Bench(THREADS, seed=seed) as running:
        yield running


@pytest.mark.timeout(180)
@pytest.mark.parametrize("key", SIZES)
def test_scenario(bench: Bench, key: str) -> None:
    """Every accepted consultation ends exactly once, nothing stored is paid again, and the counts add up."""
    [each] = [found for found in scenarios() if found.key == key]
    row = play(bench, each, size=SIZES[key])
    assert not row.problem
    assert row.tally.consultations >= SIZES[key]
