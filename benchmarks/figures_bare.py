"""The rival (i) of throughput.py: the same nine calls with the same claim, parsing and booking, in asyncio.

    python benchmarks/figures_bare.py SUBMISSION IN_FLIGHT       # prints a line of JSON: seconds, cpu_s

One process, no broker, nobody who would go on if it died. Our own SQL, prompts, sealing and parser
(figures_booking.py); httpx with aiohttp's transport, asynchronous psycopg. What belongs to a consultation
(its vignette, its prompt) is read once, as one would in a script. Left out: dispatch, limits, the consensus.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from figures_booking import CLAIM, CONNECTIONS, LOOK, OF_SUBMISSION, OPEN, OWE, STORE_RAW, Case, Owed
from httpx_aiohttp import HttpxAiohttpClient
from psycopg.rows import dict_row

from shared.registry import Registry, load_registry
from shared.sealing import SiteKey
from shared.settings import get_settings


@dataclass
class Script:
    """What all calls share."""

    http: httpx.AsyncClient
    registry: Registry
    site_key: SiteKey
    slots: asyncio.Semaphore
    idle: asyncio.Queue[psycopg.AsyncConnection[Any]] = field(default_factory=asyncio.Queue)

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection of the pool; each statement is a transaction."""
        connection = await self.idle.get()
        try:
            yield connection
        finally:
            self.idle.put_nowait(connection)


async def consultation(script: Script, row: dict[str, Any]) -> None:
    """Three answers, then six reviews."""
    async with script.statements() as db:
        [sealed] = await (await db.execute(OPEN, {"ids": [row["document_id"]]})).fetchall()
    case = Case.open(row, sealed, script.site_key)
    await asyncio.gather(*(answer(script, case, owed) for owed in row["owed"]))
    values, reviews = case.owe_reviews()
    async with script.statements() as db:
        await db.execute(OWE, values)
    await asyncio.gather(*(answer(script, case, owed, item) for owed, item in reviews))


async def answer(script: Script, case: Case, id_: uuid.UUID, item: int | None = None) -> None:
    """One owed answer: claim, call, book, parse, settle. `item`: the seat whose answer is reviewed."""
    async with script.slots:
        async with script.statements() as db:
            seen = await (await db.execute(LOOK, {"id": id_})).fetchone()
            assert seen is not None
            owed = Owed(case, id_, item, seen, script.registry)
            claim = await (await db.execute(CLAIM, owed.lease)).fetchone()
            assert claim is not None
        body = owed.body()
        began = time.monotonic()
        made = await script.http.post(
            f"{owed.model.base_url}/chat/completions",
            json=body,
            headers={"X-Request-ID": f"{id_}:{claim['claim']}"},
        )
        made.raise_for_status()
        raw = owed.raw(claim["claim"], made.json(), time.monotonic() - began)
        async with script.statements() as db:
            await db.execute(STORE_RAW, raw)
        statement, values, _ = owed.settle()
        async with script.statements() as db:
            row = await (await db.execute(statement, values)).fetchone()
            assert row is not None
            if not row["known"]:
                owed.ensure_version()
                row = await (await db.execute(statement, values)).fetchone()
            assert row is not None
            assert row["ours"]


async def main() -> None:
    """All consultations of the submission at once, so many calls in flight."""
    settings = get_settings()
    assert settings.site_key is not None
    in_flight = int(sys.argv[2])
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with HttpxAiohttpClient(timeout=60, limits=limits) as http:
        script = Script(
            http,
            load_registry(Path(os.environ["CONSILIUM_MODELS_FILE"])),
            SiteKey(settings.site_key.get_secret_value()),
            asyncio.Semaphore(in_flight),
        )
        pool = [
            await psycopg.AsyncConnection.connect(
                settings.require_database(), row_factory=dict_row, autocommit=True
            )
            for _ in range(CONNECTIONS)
        ]
        for connection in pool:
            script.idle.put_nowait(connection)
        rows = await (await pool[0].execute(OF_SUBMISSION, (sys.argv[1],))).fetchall()
        began, cpu_began = time.monotonic(), time.process_time()
        await asyncio.gather(*(consultation(script, row) for row in rows))
        print(json.dumps({"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu_began}))
        for connection in pool:
            await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
