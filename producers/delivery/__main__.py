"""`python -m producers.delivery`: delivers events, and takes submissions from queues."""

import sys

from producers.delivery.server import serve
from shared.errors import ConsiliumError
from shared.settings import get_settings

if __name__ == "__main__":
    try:
        serve(get_settings())
    except ConsiliumError as error:
        print(f"consilium: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
