"""The whole set of processes for the pipeline's tests: started once, as `consilium up` starts it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from db.engine import transaction
from db.queries import reports
from db.queries.documents import Vault
from db.queries.events import CHANNEL
from producers.cli.stack import DOORS, Stack
from producers.intake import Order, accept
from producers.readers.ndjson import read_ndjson
from shared.broker import NUDGE, NUDGE_QUEUE
from shared.registry import load_registry
from shared.sealing import SiteKey
from tests.accepted import rows
from tests.homes import home_of

SHORT = {
    # short deadlines, hence short leases: what waits for a clock waits seconds
    "hold_s": 3,
    "lease_slack_s": 1,
    "stall_slack_s": 1,
    "sweep_every_s": 1,
    "backoff_base_s": 0.1,
    "backoff_cap_s": 1,
    "close_calls_after_s": 1,
    "recompute_every_s": 2,
    "window": 40,
}
VIGNETTES = Path(__file__).parents[2] / "examples" / "vignettes.ndjson"


@dataclass
class Pipeline:
    """A running set, with what a test needs to feed and to look at it."""

    stack: Stack
    sender: Any

    @property
    def url(self) -> str:
        """PostgreSQL's address."""
        return self.stack.addresses.database_url

    @property
    def vault(self) -> Vault:
        """Opens what is sealed."""
        return Vault(SiteKey(self.stack.addresses.site_key), 30)

    def broker(self) -> redis.Redis:
        """A client of the broker."""
        return redis.Redis.from_url(self.stack.addresses.broker_url)

    def panel(self, path: str, body: Any = None) -> Any:
        """The simulated panel's ledger and controls."""
        assert self.stack.panel_url is not None
        url = self.stack.panel_url.removesuffix("/v1") + path
        made = httpx.get(url) if body is None else httpx.post(url, json=body)
        made.raise_for_status()
        return made.json()

    def submit(self, lines: Iterable[bytes], **order: Any) -> uuid.UUID:
        """Accept records as `consilium submit` does, and nudge."""
        with transaction(self.url) as session:
            receipt = accept(
                session,
                read_ndjson(lines),
                Order(**{"purpose": "evaluation", **order}),
                settings=self.stack.settings,
                registry=load_registry(Path(self.stack.environ["CONSILIUM_MODELS_FILE"])),
                vault=self.vault,
            )
        self.sender.send_task(NUDGE, queue=NUDGE_QUEUE, ignore_result=True)
        return receipt.submission_id

    def wait(
        self, submission: uuid.UUID, until: Callable[[dict[str, Any]], bool] | None = None
    ) -> dict[str, Any]:
        """Wait for the submission's end, or until its counts say so; pytest's timeout bounds it."""
        done = until or (lambda row: row["state"] == "finished")
        with psycopg.connect(self.url, autocommit=True) as listening:
            listening.execute(f"LISTEN {CHANNEL}")
            while True:
                with transaction(self.url) as session:
                    row = dict(reports.submissions(session, submission)[0])
                if done(row):
                    return row
                for _event in listening.notifies(timeout=0.5, stop_after=1):
                    pass

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of one statement."""
        return rows(self.url, statement, *values)

    def call_counts(self, submission: uuid.UUID) -> dict[str, Any]:
        """Calls: made, lost, doubled."""
        with transaction(self.url) as session:
            return reports.call_counts(session, submission)


def vignettes(count: int, **changes: Any) -> list[bytes]:
    """So many records made of the twenty examples, each with an id of its own."""
    examples = [json.loads(line) for line in VIGNETTES.read_text(encoding="utf-8").splitlines()]
    return [
        json.dumps({**examples[k % len(examples)], "id": f"case-{uuid.uuid4()}", **changes}).encode()
        for k in range(count)
    ]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Everything, with an instant panel without faults."""
    panel = ("--faults", "off", "--delay", "0", "--seed", "5")
    unused = DOORS - {"flower"}
    with (
        home_of("consilium-pipeline-") as home,
        Stack(home, SHORT, workers=2, time_scale=0.02, panel_options=panel, without=unused) as running,
    ):
        running.wait_ready()
        yield running


@pytest.fixture
def pipeline(stack: Stack) -> Pipeline:
    """The running set, its panel instant and without faults, its ledger empty."""
    from celery import Celery

    made = Pipeline(stack, Celery(broker=stack.addresses.broker_url))
    made.panel("/control/faults", "off")
    made.panel("/control/delay", {"seconds": 0})
    made.panel("/ledger/reset", {})
    return made
