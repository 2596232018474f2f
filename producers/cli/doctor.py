"""`consilium doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from producers.cli.common import Format, emit, out
from producers.cli.health import tell
from producers.doctor import examine
from shared.settings import get_settings


def doctor(
    days: Annotated[
        float, typer.Option(min=0, help="Check the data received within so many days; 0: all there is.")
    ] = 7,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Check services, settings, models, work and the stored data. Exit code 1 if there is a problem."""
    groups = examine(get_settings(), days=days or None)
    if format_ is not Format.table:
        emit(
            [{"group": name, **asdict(check)} for name, checks in groups.items() for check in checks], format_
        )
    else:
        for name, checks in groups.items():
            out.print(name, style="bold")
            tell(checks)
    if any(check.level == "problem" for checks in groups.values() for check in checks):
        raise typer.Exit(1)
