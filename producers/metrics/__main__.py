"""`python -m producers.metrics [--host H] [--port N]`: serves /metrics and /healthz."""

from __future__ import annotations

import argparse
import sys

from producers.metrics.server import serve
from shared.errors import ConsiliumError
from shared.settings import get_settings


def main() -> None:
    """The command line of this module; a wrong setting is one sentence and its exit code."""
    parser = argparse.ArgumentParser(prog="python -m producers.metrics", description=__doc__)
    parser.add_argument("--host", help="default: CONSILIUM_METRICS_HOST")
    parser.add_argument("--port", type=int, help="0: a free one; default: CONSILIUM_METRICS_PORT")
    asked = parser.parse_args()
    try:
        serve(get_settings(), asked.host, asked.port)
    except ConsiliumError as error:
        print(f"consilium: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
