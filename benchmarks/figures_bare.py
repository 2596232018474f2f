"""The rival (i) of throughput.py: the same nine calls with the same claim, parsing and booking, in asyncio.

    python benchmarks/figures_bare.py SUBMISSION IN_FLIGHT       # prints a line of JSON: seconds, cpu_s

One process, no broker, nobody who would go on if it died. Our own SQL (look; claim; raw answer, call and
cost; answer, progress and result), each a transaction of its own as in the workers, our prompts, our
sealing and our parser; httpx with aiohttp's transport, asynchronous psycopg. What belongs to a consultation
(its vignette, its prompt) is read once, as one would in a script. Left out: dispatch, limits, the consensus.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
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
from httpx_aiohttp import HttpxAiohttpClient
from psycopg.rows import dict_row
from sqlalchemy import TextClause

from db.engine import transaction
from db.ids import new_id
from db.queries import answers, documents, model_versions, owed_answers
from shared import prompts
from shared.blind import render_answer
from shared.reading import read_answer
from shared.registry import Registry, lease_s, load_registry, price
from shared.review_design import pairs, slots
from shared.schemas import Recommendation, ReviewAnswer, Vignette
from shared.sealing import DataKey, SiteKey
from shared.settings import get_settings

CONNECTIONS = 16


def sql(statement: TextClause) -> str:
    """A named statement of ours as psycopg takes it."""
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", statement.text.replace("%", "%%"))


LOOK, CLAIM, STORE_RAW, GENERATION, REVIEW, OWE, OPEN = map(
    sql,
    (
        owed_answers.LOOK,
        owed_answers.CLAIM,
        answers.STORE_RAW,
        answers.SETTLE_GENERATION,
        answers.SETTLE_REVIEW,
        owed_answers.OWE_REVIEWS,
        documents.OPEN,
    ),
)
OF_SUBMISSION = """
    SELECT c.id, c.seed, c.document_id, array_agg(o.id ORDER BY o.seat) AS owed
    FROM consultations c JOIN owed_answers o ON o.consultation_id = c.id
    WHERE c.submission_id = %s GROUP BY c.id, c.seed, c.document_id ORDER BY c.id
"""


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


@dataclass
class Case:
    """One consultation as the script holds it in memory; `given`: seat → (generation's id, answer)."""

    id: uuid.UUID
    seed: int
    key: DataKey
    text: str
    given: dict[int, tuple[uuid.UUID, Recommendation]] = field(default_factory=dict)


async def consultation(script: Script, row: dict[str, Any]) -> None:
    """Three answers, then six reviews."""
    async with script.statements() as db:
        [sealed] = await (await db.execute(OPEN, {"ids": [row["document_id"]]})).fetchall()
    key = script.site_key.unwrap(sealed["key_id"], sealed["wrapped"])
    vignette = Vignette.model_validate_json(key.open(sealed["ciphertext"], sealed["id"]))
    case = Case(row["id"], row["seed"], key, prompts.render_case(vignette))
    await asyncio.gather(*(answer(script, case, owed) for owed in row["owed"]))
    drawn = [(new_id(), *pair) for pair in pairs(sorted(case.given), k=4, seed=case.seed)]
    reviews = {
        "consultation_id": case.id,
        "ids": [owed for owed, _, _ in drawn],
        "seats": [reviewer for _, reviewer, _ in drawn],
        "abouts": [case.given[item][0] for _, _, item in drawn],
    }
    async with script.statements() as db:
        await db.execute(OWE, reviews)
    await asyncio.gather(*(answer(script, case, owed, item) for owed, _, item in drawn))


async def answer(script: Script, case: Case, owed: uuid.UUID, item: int | None = None) -> None:
    """One owed answer: claim, call, book, parse, settle. `item`: the seat whose answer is reviewed."""
    async with script.slots:
        settings = get_settings()
        async with script.statements() as db:
            seen = await (await db.execute(LOOK, {"id": owed})).fetchone()
            assert seen is not None
            model = script.registry[seen["model"]]
            lease = {"id": owed, "holder": "script", "lease_s": lease_s(model, settings), "crashes_below": 2}
            claim = await (await db.execute(CLAIM, lease)).fetchone()
            assert claim is not None
        schema: type[Recommendation | ReviewAnswer]
        shown: dict[str, Any] = {}
        if item is None:
            schema, prompt = Recommendation, prompts.GENERATE
            messages = prompts.generate_messages(prompt, case.text)
        else:
            schema, prompt = ReviewAnswer, prompts.REVIEW
            slot = next(
                s
                for s in slots(seen["seat"], case.given.keys() - {seen["seat"]}, case.seed)
                if s.item == item
            )
            rendered = render_answer(case.given[item][1], script.registry.names())
            messages = prompts.review_messages(prompt, case.text, rendered.text, slot.label, slot.fence)
            shown = {"label": slot.label, "position": slot.position, "shown_characters": len(rendered.text)}
        body = {
            **model.parameters,
            "model": model.model,
            "messages": messages,
            "seed": case.seed % 2**31,
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "recommendation" if item is None else "review",
                    "schema": prompt.schema,
                },
            },
        }
        began = time.monotonic()
        made = await script.http.post(
            f"{model.base_url}/chat/completions",
            json=body,
            headers={"X-Request-ID": f"{owed}:{claim['claim']}"},
        )
        made.raise_for_status()
        latency_s = time.monotonic() - began
        envelope = made.json()
        text, used = envelope["choices"][0]["message"]["content"], envelope["usage"]
        raw_id = new_id()
        of = {
            "id": owed,
            "claim": claim["claim"],
            "source_id": seen["source_id"],
            "consultation_id": case.id,
            "key_id": case.key.id,
            "retention_days": 30,
        }
        raw = json.dumps({"text": text, "returned": envelope["model"], "latency_s": latency_s})
        document = {"document_id": raw_id, "kind": "raw_answer", "ciphertext": case.key.seal(raw, raw_id)}
        call = {
            "model": model.name,
            "error_kind": None,
            "masked": None,
            "status": 200,
            "prompt_tokens": used["prompt_tokens"],
            "completion_tokens": used["completion_tokens"],
            "cost_usd": price(model, used["prompt_tokens"], used["completion_tokens"]),
        }
        async with script.statements() as db:
            await db.execute(STORE_RAW, {**of, **document, **call})
        parsed = read_answer(text, schema)
        answer_id, document_id = new_id(), new_id()
        if isinstance(parsed, Recommendation):
            case.given[seen["seat"]] = (answer_id, parsed)
            said, kind = parsed.model_dump_json(), "recommendation"
            read = {"decision": parsed.decision, "starts": [], "stops": []}
        else:
            said, kind = parsed.critique, "critique"
            read = {**shown, "grade": parsed.grade, "scrubbed": 0}
        settled = {
            **of,
            **read,
            "document_id": document_id,
            "kind": kind,
            "ciphertext": case.key.seal(said, document_id),
            "answer_id": answer_id,
            "raw_id": raw_id,
            "latency_s": latency_s,
            "provider": model.provider,
            "name": model.name,
            "parameters_digest": model.parameters_digest,
            "returned": envelope["model"],
        }
        statement = GENERATION if item is None else REVIEW
        async with script.statements() as db:
            row = await (await db.execute(statement, settled)).fetchone()
            assert row is not None
            if not row["known"]:  # the first answer of this version
                with transaction(get_settings().require_database()) as session:
                    model_versions.ensure_version(session, model, envelope["model"])
                row = await (await db.execute(statement, settled)).fetchone()
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
