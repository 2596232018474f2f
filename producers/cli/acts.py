"""What the operator's commands share: audit line, sweep, and reading of names, amounts and ages."""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Collection
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.queries import audit as lines
from db.tables import Source
from producers.cli.common import NotFound, err
from producers.nudge import send
from shared.broker import NUDGE_QUEUE, SWEEP
from shared.errors import SettingsError
from shared.settings import get_settings

WHO = "cli"
"""The command line in the audit."""
MOST_USD = Decimal(1_000_000)
"""Amounts are below this: what their columns hold."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def audit(session: Session, what: str, which: str, source_id: uuid.UUID | None = None) -> None:
    """Who did what to which thing, in the transaction that does it."""
    lines.record(session, WHO, what, which, source_id)


def go_on() -> None:
    """Have the workers look at once; if the broker is away, say that it takes until it is back."""
    if not send(get_settings(), SWEEP, (), NUDGE_QUEUE):
        err.print("the broker is away: all is stored, and takes effect when it is back", style="yellow")


def source_named(session: Session, name: str) -> Source:
    """The source. Raises `NotFound` with those there are."""
    found = session.execute(select(Source).where(Source.name == name)).scalar_one_or_none()
    if found is None:
        known = session.execute(select(Source.name)).scalars().all()
        raise NotFound(f"no source named {name!r}: {suggest(name, known)}")
    return found


def suggest(name: str, known: Collection[str]) -> str:
    """The names nearest to a wrong one; without any near, all."""
    close = difflib.get_close_matches(name, known, 3)
    return (
        f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(known)) or 'none'}"
    )


def amount(given: str, option: str) -> Decimal | None:
    """An amount in USD, or `none`. Raises `SettingsError`."""
    if given.lower() == "none":
        return None
    try:
        usd = Decimal(given)
        good = usd.is_finite() and 0 <= usd < MOST_USD
    except InvalidOperation:
        good = False
    if not good:
        raise SettingsError(f"{option} is an amount in USD such as 12.50, below {MOST_USD}, or none")
    return usd


def usd(value: Decimal | None) -> str:
    """An amount for people."""
    return "no cap" if value is None else f"{value:.4f} USD"


def age(given: str | None, option: str) -> timedelta | None:
    """90s, 15m, 2h or 3d. Raises `SettingsError`."""
    if given is None:
        return None
    found = re.fullmatch(r"(\d{1,6})([smhd])", given)
    if found is None:
        raise SettingsError(f"{option} is an age such as 90s, 15m, 2h or 3d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
