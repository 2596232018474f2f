"""What a consultation is expected to cost before it is asked: for budgets, which look ahead.

Assumed: four characters a token; a recommendation of 400 tokens and a review of 150; every seat answers at
the first try, so that everybody reviews as designed. Repairs and retries are not foreseen: what has been
spent is counted as it is, so they shorten what is left of a budget, never what is known of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from shared.errors import SettingsError
from shared.prompts import GENERATE, REVIEW, generate_messages, review_messages
from shared.registry import Model, price
from shared.review_design import ALL_PAIRS_UP_TO

CHARACTERS_A_TOKEN = 4
TYPICAL_CASE = 1_600
"""Characters of a brief vignette with its context."""
ANSWER_TOKENS = 400
REVIEW_TOKENS = 150
_ASKED = sum(len(message["content"]) for message in generate_messages(GENERATE, ""))
_GRADED = sum(len(message["content"]) for message in review_messages(REVIEW, "", "", "A", "fence"))


def expected_usd(models: Sequence[Model], case: int, *, reviews_per_answer: int) -> Decimal | None:
    """USD for one consultation of these seats; None if a price that matters is not known, 0 if all are free.

    `case`: characters of the rendered case.
    """
    n = len(models)
    costs = [seat_usd(model, n, case, reviews_per_answer=reviews_per_answer) for model in models]
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == n else None


def seat_usd(model: Model, n: int, case: int = TYPICAL_CASE, *, reviews_per_answer: int) -> Decimal | None:
    """USD for one of n seats: its answer, and its reviews of the others; None if its price is not known."""
    reviews = n - 1 if n <= ALL_PAIRS_UP_TO else min(reviews_per_answer, n - 1)
    asked = (_ASKED + case) // CHARACTERS_A_TOKEN
    graded = (_GRADED + case) // CHARACTERS_A_TOKEN + ANSWER_TOKENS
    return price(model, asked + reviews * graded, ANSWER_TOKENS + reviews * REVIEW_TOKENS)


def require_prices(names: Iterable[str], registry: Mapping[str, Model]) -> None:
    """Raises `SettingsError` if one of these models has no price: no cap could be kept for it."""
    without = [n for n in names if n in registry and price(registry[n], 1, 1) is None]
    if without:
        raise SettingsError(
            f"a budget cannot be kept with models whose price is not known ({', '.join(without)}): give "
            "usd_per_mtok_in and usd_per_mtok_out in models.toml (0: free), deny them for this source, name "
            "others with --strategy FIXED --models, or set no budget"
        )
