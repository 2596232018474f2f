"""`consilium chemistry`: who works well with whom."""

from __future__ import annotations

import typer

from producers.cli.chemistry.recompute import recompute
from producers.cli.chemistry.show import diff, show, why
from producers.cli.chemistry.table import table
from producers.cli.chemistry.validate import validate

app = typer.Typer(help="Chemistry: who works well with whom, and how sure that is.", no_args_is_help=True)
for command in (show, why, diff, recompute, table, validate):
    app.command(command.__name__)(command)
