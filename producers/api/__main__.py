"""`python -m producers.api [--host H] [--port N]`: serves the HTTP API."""

from producers.api.server import serve
from producers.serving import run

if __name__ == "__main__":
    run("producers.api", __doc__, serve)
