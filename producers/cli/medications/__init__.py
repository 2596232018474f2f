"""`consilium medications`: names, safety and refinement of lists of drugs; no service is needed."""

from __future__ import annotations

import typer

from producers.cli.medications.check import check
from producers.cli.medications.normalise import normalise
from producers.cli.medications.refine import refine
from producers.cli.medications.rules import rules

app = typer.Typer(
    help="Names, safety and refinement of lists of drugs; no service needed.", no_args_is_help=True
)
for command in (normalise, check, refine, rules):
    app.command(command.__name__)(command)
