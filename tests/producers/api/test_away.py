"""Whatever we need is away for a while: 503 with when to try again, without our own names for it."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy.exc import TimeoutError as NoConnection

from shared.errors import SealedElsewhere
from tests.producers.api.conftest import Door


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoConnection("QueuePool limit reached"), "the database cannot be reached"),
        (SealedElsewhere("a data key does not open with CONSILIUM_SITE_KEY"), "key is being changed"),
    ],
)
def test_what_is_away_may_be_asked_again(
    door: Door, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """No connection is free, or a key rotation has gone past this process."""

    def away(_url: str) -> None:
        raise error

    monkeypatch.setattr("producers.api.healthz.transaction", away)
    answer = httpx.get(f"{door.url}/healthz")
    assert (answer.status_code, answer.json()["type"]) == (503, "away")
    assert int(answer.headers["retry-after"]) > 0
    assert said in answer.json()["detail"]
    assert "CONSILIUM" not in answer.text
