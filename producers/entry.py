"""`consilium`: Ctrl-C while the command is still being imported ends it without a traceback."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from producers.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
