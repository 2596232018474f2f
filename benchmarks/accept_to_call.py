"""From accepting a vignette to its first call to a model, on an idle system.

    python benchmarks/accept_to_call.py [TIMES]

Each time one vignette is accepted as `consilium submit` does, and its end is awaited before the next one.
Printed: milliseconds from the commit, by the submitter's clock, to the first call's row, by PostgreSQL's (one
machine, one clock); beside it, in the same run, one bare Celery hop there and back, so that the number can be
read against what the broker and the pool cost alone.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psycopg
from celery import Celery

from db.engine import transaction
from db.queries.documents import Vault
from db.queries.events import CHANNEL
from producers.cli.stack import Stack
from producers.intake import Order, accept
from producers.readers.ndjson import read_ndjson
from shared.broker import CHECK_CHANNEL, CHECK_MODEL, MESSAGE_VERSION, NUDGE, NUDGE_QUEUE
from shared.registry import load_registry
from shared.sealing import SiteKey

VIGNETTES = Path(__file__).parents[1] / "examples" / "vignettes.ndjson"


def main() -> None:
    """Start everything, measure, print."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    home = Path(tempfile.mkdtemp(prefix="consilium-bench-"))
    home.chmod(0o755)
    with Stack(home, panel_options=("--faults", "off", "--delay", "0")) as stack:
        stack.wait_ready()
        url = stack.addresses.database_url
        vault = Vault(SiteKey(stack.addresses.site_key), 30)
        registry = load_registry(Path(stack.environ["CONSILIUM_MODELS_FILE"]))
        sender = Celery(broker=stack.addresses.broker_url)
        lines = VIGNETTES.read_bytes().splitlines()
        waits, hops = [], []
        with psycopg.connect(url, autocommit=True) as listening:
            listening.execute(f"LISTEN {CHANNEL}")
            listening.execute(f"LISTEN {CHECK_CHANNEL}")
            for number in range(times + 3):
                hops.append(_hop(sender, listening))
                with transaction(url) as session:
                    receipt = accept(
                        session,
                        read_ndjson([lines[number % len(lines)]]),
                        Order(purpose="evaluation", seed=number),
                        settings=stack.settings,
                        registry=registry,
                        vault=vault,
                    )
                accepted = time.time()
                sender.send_task(NUDGE, queue=NUDGE_QUEUE, ignore_result=True)
                for _event in listening.notifies(timeout=60, stop_after=2):
                    pass
                (first,) = listening.execute(
                    "SELECT extract(epoch FROM min(m.started_at)) FROM model_calls m "
                    "JOIN owed_answers o ON o.id = m.owed_answer_id "
                    "JOIN consultations c ON c.id = o.consultation_id WHERE c.submission_id = %s",
                    (receipt.submission_id,),
                ).fetchone() or (None,)
                if first is not None:
                    waits.append(1000 * (float(first) - accepted))
        _print("accept to first call", waits[3:])
        _print("one bare hop there and back", hops[3:])


def _hop(sender: Celery, listening: psycopg.Connection) -> float:
    """Milliseconds of a task that is sent, run, and answers by a notification."""
    began = time.time()
    sender.send_task(
        CHECK_MODEL, (MESSAGE_VERSION, str(uuid.uuid4()), "nobody"), queue="remote", ignore_result=True
    )
    for _event in listening.notifies(timeout=30, stop_after=1):
        pass
    return 1000 * (time.time() - began)


def _print(what: str, values: list[float]) -> None:
    ordered = sorted(values)
    print(
        f"{what:30} median {statistics.median(ordered):7.1f} ms   "
        f"5–95 % {ordered[len(ordered) // 20]:.1f}–{ordered[-1 - len(ordered) // 20]:.1f} ms   "
        f"n {len(ordered)}"
    )


if __name__ == "__main__":
    main()
