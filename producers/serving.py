"""The command line of a server that runs as a process of its own: `python -m producers.metrics`, `….api`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from shared.errors import ConsiliumError
from shared.settings import Settings, get_settings


def run(module: str, doc: str | None, serve: Callable[[Settings, str | None, int | None], None]) -> None:
    """Read --host and --port and serve; a wrong setting is one sentence and its exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc)
    parser.add_argument("--host", help="default: as set")
    parser.add_argument("--port", type=int, help="0: a free one; default: as set")
    asked = parser.parse_args()
    try:
        serve(get_settings(), asked.host, asked.port)
    except ConsiliumError as error:
        print(f"consilium: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
