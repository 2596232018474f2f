"""`consilium health`: whether work flows, for a person, a monitor or a container's health check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from producers.cli.common import Format, emit, out
from producers.health import Check, flows, worker_flows
from shared.settings import get_settings

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def health(
    worker: Annotated[
        str | None,
        typer.Option(help="Only this worker process: Celery's node name, or its part before the @."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.table,
) -> None:
    """Whether work flows. Exit code 1 if it does not.

    With --worker, where PostgreSQL or the broker is away nothing can be told of the worker: exit code 0.
    """
    checks = flows(get_settings()) if worker is None else worker_flows(get_settings(), worker)
    if format_ is Format.table:
        tell(checks)
    else:
        emit([asdict(check) for check in checks], format_)
    if any(check.level == "problem" for check in checks):
        raise typer.Exit(1)


def tell(checks: Iterable[Check]) -> None:
    """One line a check, for people."""
    for check in checks:
        out.print(f"{check.level:<8}", style=COLOURS[check.level], end="")
        out.print(f"{check.name}: {check.told}", markup=False, highlight=False)
