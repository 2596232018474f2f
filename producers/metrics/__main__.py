"""`python -m producers.metrics [--host H] [--port N]`: serves /metrics and /healthz."""

from producers.metrics.server import serve
from producers.serving import run

if __name__ == "__main__":
    run("producers.metrics", __doc__, serve)
