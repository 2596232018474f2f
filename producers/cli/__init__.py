"""The command line: one file a command group."""

from __future__ import annotations

import sys

import typer
from sqlalchemy.exc import SQLAlchemyError

from producers.cli import chemistry, failed, history, models, outcomes, sources
from producers.cli.budget import budget
from producers.cli.common import err
from producers.cli.consensus import consensus
from producers.cli.demo import demo
from producers.cli.doctor import doctor
from producers.cli.ensemble import ensemble
from producers.cli.evaluate import evaluate
from producers.cli.health import health
from producers.cli.metrics import metrics
from producers.cli.pause import pause, resume
from producers.cli.reparse import reparse
from producers.cli.replay import replay
from producers.cli.results import results
from producers.cli.reviewers import reviewers
from producers.cli.show import show
from producers.cli.status import status
from producers.cli.submit import submit
from producers.cli.up import up
from producers.cli.workers import workers
from shared.errors import ConsiliumError

app = typer.Typer(
    name="consilium",
    help="A council of language models over one patient. Supports clinicians' review; no medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with locals would show clinical text
    rich_markup_mode="rich" if sys.stdout.isatty() and sys.stderr.isatty() else None,  # plain when piped
)
for command in (
    *(up, submit, status, results, show, consensus, demo),
    *(pause, resume, budget, reparse),
    *(workers, health, doctor, metrics),
    *(ensemble, evaluate, replay, reviewers),
):
    app.command(command.__name__)(command)
app.add_typer(sources.app, name="sources")
app.add_typer(models.app, name="models")
app.add_typer(failed.app, name="failed")
app.add_typer(chemistry.app, name="chemistry")
app.add_typer(history.app, name="history")
app.add_typer(outcomes.app, name="outcomes")


def main() -> None:
    """Run a command; an error on purpose is one sentence on stderr and its exit code."""
    try:
        app()
    except SQLAlchemyError as error:
        # a driver's message may quote the row
        err.print(f"consilium: a bug, or the database refused: {type(error).__name__}", style="red")
        sys.exit(1)
    except ConsiliumError as error:
        err.print(f"consilium: {error}", style="red", markup=False, highlight=False)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
