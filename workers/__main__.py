"""`python -m workers APP worker|beat|flower …`: the same as `celery -A APP …`, sooner.

Celery's own command line imports a shell, Flower and twenty commands before it runs one.
"""

from __future__ import annotations

import sys
from importlib import import_module

from celery import maybe_patch_concurrency

PLACES = {"worker": "celery.bin.worker", "beat": "celery.bin.beat", "flower": "flower.command"}


def main() -> None:
    """Run the one command."""
    maybe_patch_concurrency()  # before anything else is imported: `-P gevent` patches the standard library
    import click
    from celery.app.utils import find_app
    from celery.bin.base import CLIContext

    app, name = sys.argv[1:3]
    group = click.Group(commands={name: getattr(import_module(PLACES[name]), name)})
    context = CLIContext(find_app(app), no_color=False, workdir=None)
    group(sys.argv[2:], prog_name=f"celery -A {app}", obj=context)


if __name__ == "__main__":
    main()
