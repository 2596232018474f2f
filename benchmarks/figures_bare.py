"""The rival (i) of throughput.py: the same nine calls with the same claim, parsing and booking, in asyncio.

    python benchmarks/figures_bare.py SUBMISSION IN_FLIGHT       # prints a line of JSON: seconds, cpu_s

One process, no broker, nobody who would go on if it died. Our own SQL (look and claim; raw answer, call and
cost; answer, progress and result), each in a transaction of its own as in the workers, our prompts, our
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

from db.ids import new_id
from db.queries import documents, owed_answers
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


LOOK, CLAIM, ATTACH, CLOSE, SETTLE, OWE, OPEN = map(
    sql,
    (
        owed_answers.LOOK,
        owed_answers.CLAIM,
        owed_answers.ATTACH_RAW,
        owed_answers.CLOSE_CALL,
        owed_answers.SETTLE,
        owed_answers.OWE_REVIEW,
        documents.OPEN,
    ),
)
DOCUMENT = """
    INSERT INTO clinical_documents (id, source_id, consultation_id, kind, key_id, ciphertext, expires_at)
    VALUES (%(id)s, %(source_id)s, %(consultation_id)s, %(kind)s, %(key_id)s, %(ciphertext)s,
            now() + interval '30 days')
"""
COMMON = "id, source_id, consultation_id, owed_answer_id, seat, occupancy, model_version_id, raw_document_id"
COMMON_VALUES = ", ".join(f"%({name})s" for name in COMMON.split(", "))
GENERATION = f"""
    INSERT INTO generations ({COMMON}, document_id, latency_s, decision, starts, stops)
    VALUES ({COMMON_VALUES}, %(document_id)s, %(latency_s)s, %(decision)s, '{{}}', '{{}}')
"""
REVIEW = f"""
    INSERT INTO reviews ({COMMON}, document_id, latency_s, generation_id, grade, label, position, scrubbed,
                         shown_characters)
    VALUES ({COMMON_VALUES}, %(document_id)s, %(latency_s)s, %(generation_id)s, %(grade)s, %(label)s,
            %(position)s, 0, %(shown)s)
"""
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
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A transaction on a connection of the pool."""
        connection = await self.idle.get()
        try:
            async with connection.transaction():
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
    async with script.transaction() as db:
        [sealed] = await (await db.execute(OPEN, {"ids": [row["document_id"]]})).fetchall()
    key = script.site_key.unwrap(sealed["key_id"], sealed["wrapped"])
    vignette = Vignette.model_validate_json(key.open(sealed["ciphertext"], sealed["id"]))
    case = Case(row["id"], row["seed"], key, prompts.render_case(vignette))
    await asyncio.gather(*(answer(script, case, owed) for owed in row["owed"]))
    reviews = []
    async with script.transaction() as db:
        for reviewer, item in pairs(sorted(case.given), k=4, seed=case.seed):
            reviews.append((owed := new_id(), item))
            values = {"id": owed, "consultation_id": case.id, "seat": reviewer, "about": case.given[item][0]}
            await db.execute(OWE, values)
    await asyncio.gather(*(answer(script, case, owed, item) for owed, item in reviews))


async def answer(script: Script, case: Case, owed: uuid.UUID, item: int | None = None) -> None:
    """One owed answer: claim, call, book, parse, settle. `item`: the seat whose answer is reviewed."""
    async with script.slots:
        settings = get_settings()
        async with script.transaction() as db:
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
            shown = {"label": slot.label, "position": slot.position, "shown": len(rendered.text)}
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
        of = {"source_id": seen["source_id"], "consultation_id": case.id, "key_id": case.key.id}
        async with script.transaction() as db:
            raw = json.dumps({"text": text, "returned": envelope["model"], "latency_s": latency_s})
            sealed = case.key.seal(raw, raw_id)
            await db.execute(DOCUMENT, {**of, "id": raw_id, "kind": "raw_answer", "ciphertext": sealed})
            await db.execute(ATTACH, {"id": owed, "claim": claim["claim"], "raw_id": raw_id})
            call = {
                "id": owed,
                "claim": claim["claim"],
                "outcome": "answered",
                "error_kind": None,
                "masked": None,
                "status": 200,
                "prompt_tokens": used["prompt_tokens"],
                "completion_tokens": used["completion_tokens"],
                "cost_usd": price(model, used["prompt_tokens"], used["completion_tokens"]),
            }
            await db.execute(CLOSE, call)
        parsed = read_answer(text, schema)
        answer_id, document_id = new_id(), new_id()
        async with script.transaction() as db:
            await db.execute(SETTLE, {"id": owed, "claim": claim["claim"], "answer_id": answer_id})
            said = parsed.model_dump_json() if isinstance(parsed, Recommendation) else parsed.critique
            kind = "recommendation" if item is None else "critique"
            sealed = case.key.seal(said, document_id)
            await db.execute(DOCUMENT, {**of, "id": document_id, "kind": kind, "ciphertext": sealed})
            values = {
                "id": answer_id,
                "source_id": seen["source_id"],
                "consultation_id": case.id,
                "owed_answer_id": owed,
                "seat": seen["seat"],
                "occupancy": seen["occupancy"],
                "model_version_id": seen["model_version_id"],
                "raw_document_id": raw_id,
                "document_id": document_id,
                "latency_s": latency_s,
                **shown,
            }
            if isinstance(parsed, Recommendation):
                case.given[seen["seat"]] = (answer_id, parsed)
                await db.execute(GENERATION, {**values, "decision": parsed.decision})
            else:
                assert item is not None
                about = case.given[item][0]
                await db.execute(REVIEW, {**values, "generation_id": about, "grade": parsed.grade})


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
            await psycopg.AsyncConnection.connect(settings.require_database(), row_factory=dict_row)
            for _ in range(CONNECTIONS)
        ]
        for connection in pool:
            script.idle.put_nowait(connection)
        rows = await (await pool[0].execute(OF_SUBMISSION, (sys.argv[1],))).fetchall()
        await pool[0].commit()
        began, cpu_began = time.monotonic(), time.process_time()
        await asyncio.gather(*(consultation(script, row) for row in rows))
        print(json.dumps({"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu_began}))
        for connection in pool:
            await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
