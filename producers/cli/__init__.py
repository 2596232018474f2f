"""The command line: one file a command or group, imported only when it is the one that was asked for."""

from __future__ import annotations

import sys
from importlib import import_module

import typer
from sqlalchemy.exc import SQLAlchemyError

from producers.cli.common import err
from shared.errors import ConsiliumError

NAMES = (
    *("up", "submit", "watch", "status", "results", "show", "consensus", "demo"),
    *("pause", "resume", "cancel", "budget", "reparse", "workers", "health", "doctor"),
    *("metrics", "api", "deliver"),
    *("ensemble", "evaluate", "replay", "reviewers"),
    *("sources", "webhooks", "models", "failed", "chemistry", "history", "outcomes", "medications"),
    *("audit", "erase", "sitekey"),
)
"""The commands in the order of the help. Each is a module here: a function of its name, or a group `app`."""
ELSEWHERE = {"resume": "pause"}
"""Commands that live in the module of another."""


def application(asked: str = "") -> typer.Typer:
    """The whole command line, or the one command that was asked for: the rest need not be imported."""
    app = typer.Typer(
        name="consilium",
        help="A council of language models over one patient. Supports clinicians' review; no medical device.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # a traceback with locals would show clinical text
        rich_markup_mode="rich" if sys.stdout.isatty() and sys.stderr.isatty() else None,  # plain when piped
    )
    app.callback()(lambda: None)  # a command's name is given even where it is the only one
    for name in [asked] if asked in NAMES else NAMES:
        module = import_module(f"producers.cli.{ELSEWHERE.get(name, name)}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


def main() -> None:
    """Run a command; an error on purpose is one sentence on stderr and its exit code."""
    try:
        application(*sys.argv[1:2])()
    except SQLAlchemyError as error:
        # a driver's message may quote the row
        err.print(f"consilium: a bug, or the database refused: {type(error).__name__}", style="red")
        sys.exit(1)
    except ConsiliumError as error:
        err.print(f"consilium: {error}", style="red", markup=False, highlight=False)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
