"""The command line: one file a command or group, imported only when it is the one that was asked for."""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from typing import Annotated

import typer
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from producers.cli.common import away, err
from shared.errors import ConsiliumError, SettingsError

COMMANDS = {
    "up": "Run everything on this machine until Ctrl-C.",
    "submit": "Submit vignettes (NDJSON, JSON, CSV, FHIR).",
    "watch": "Live progress until all has ended.",
    "status": "Counts by state, what is open and why, what failed and why.",
    "results": "Recommendations, and what a person must look at and why.",
    "show": "One case: vignette, answers, reviews and consensus.",
    "consensus": "Consensus grades and reviewers' measures from a file.",
    "demo": "The whole story in two minutes, with simulated models.",
    "pause": "Begin nothing new: for everything, a source, or a model.",
    "resume": "Lift a pause: what waited for it goes on at once.",
    "cancel": "Cancel what has not begun.",
    "budget": "Cap what a submission, or a source in a day, may cost.",
    "reparse": "Read stored answers again that could not be read.",
    "workers": "Worker processes: running, silent or stopped.",
    "health": "Whether work flows.",
    "doctor": "Check services, settings, models, work and stored data.",
    "metrics": "Serve /metrics (Prometheus) and /healthz until Ctrl-C.",
    "api": "Serve the HTTP API until Ctrl-C.",
    "deliver": "Deliver events and take submissions from queues.",
    "ensemble": "Whom an ensemble would be drawn from now, and why.",
    "evaluate": "Run an evaluation through the real pipeline.",
    "replay": "Say what would have changed by other dials.",
    "reviewers": "Each reviewer against the others of the same answers.",
    "audit": "Who did what to which thing, the newest first.",
    "erase": "Erase records: no text of theirs can be read again.",
    "sources": "Who sends, and which models may read their patients.",
    "webhooks": "Where a source's events are sent, signed.",
    "models": "The models of models.toml.",
    "failed": "Dead letters: consultations that failed.",
    "chemistry": "Who works well with whom, and how sure that is.",
    "history": "Stored history: import, list, export.",
    "outcomes": "What turned out to be right.",
    "medications": "Names, safety and refinement of lists of drugs.",
    "sitekey": "The site's key: what it has wrapped, and rotating it.",
}
"""The commands as they are listed. Each is a module here: a function of its name, or a group `app`."""
ELSEWHERE = {"resume": "pause"}
"""Commands that live in the module of another."""


def application(asked: str = "") -> typer.Typer:
    """The command that was asked for; where none was, all are listed and none is imported."""
    app = typer.Typer(
        name="consilium",
        help="A council of language models over one patient. Supports clinicians' review; no medical device.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # a traceback with locals would show clinical text
        rich_markup_mode="rich" if sys.stdout.isatty() and sys.stderr.isatty() else None,  # plain when piped
    )
    app.callback()(_whole)  # a command's name is given even where it is the only one
    if asked not in COMMANDS:
        for name, told in COMMANDS.items():
            app.command(name, help=told)(_listed)
        return app
    module = import_module(f"producers.cli.{ELSEWHERE.get(asked, asked)}")
    if hasattr(module, "app"):
        app.add_typer(module.app, name=asked)
    else:
        app.command(asked)(getattr(module, asked))
    return app


def _version(asked: bool) -> None:
    if asked:
        print(f"consilium {metadata.version('consilium')}")
        raise typer.Exit


def _whole(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell it, and nothing else.")
    ] = False,
) -> None:
    """Options of no command."""


def _listed() -> None:
    raise SettingsError("the command comes first: consilium COMMAND, then its options")


def main() -> None:
    """Run a command; an error on purpose is one sentence on stderr and its exit code."""
    try:
        application(*sys.argv[1:2])()
    except OperationalError as error:
        told = away(error)
        err.print(f"consilium: {told}", style="red", markup=False, highlight=False)
        sys.exit(told.exit_code)
    except SQLAlchemyError as error:
        # a driver's message may quote the row
        err.print(f"consilium: a bug, or the database refused: {type(error).__name__}", style="red")
        sys.exit(1)
    except ConsiliumError as error:
        err.print(f"consilium: {error}", style="red", markup=False, highlight=False)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
