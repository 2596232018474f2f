"""A word in every vignette of the suite, and the search for it where nothing clinical may stand."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import redis

VIGNETTES = Path(__file__).parents[2] / "examples" / "vignettes.ndjson"
PLANTED = "ZEBRA"


def vignettes(count: int, **changes: Any) -> list[bytes]:
    """So many records made of the twenty examples, each with an id of its own and the planted word."""
    examples = [json.loads(line) for line in VIGNETTES.read_text(encoding="utf-8").splitlines()]
    return [
        json.dumps(
            {
                **(case := examples[k % len(examples)]),
                "vignette": f"{case['vignette']} The patient is called {PLANTED}.",
                "id": f"{PLANTED}-{uuid.uuid4()}",
                **changes,
            }
        ).encode()
        for k in range(count)
    ]


def planted(client: redis.Redis, home: Path) -> list[str]:
    """Where the planted word stands although it must not: keys of Redis, its files, logs."""
    found = [f"redis {key!r}" for key in client.scan_iter(count=1000) if PLANTED in _shown(client, key)]
    for folder in ("redis", "logs"):
        for path in (home / folder).rglob("*"):
            if path.is_file() and PLANTED.encode() in path.read_bytes():
                found.append(str(path.relative_to(home)))
    return found


def _shown(client: redis.Redis, key: bytes) -> str:
    """A key with all its values: not DUMP, which compresses them."""
    kind = client.type(key)
    values: Any = None
    if kind == b"string":
        values = client.get(key)
    elif kind == b"list":
        values = client.lrange(key, 0, -1)
    elif kind == b"hash":
        values = client.hgetall(key)
    elif kind == b"set":
        values = client.smembers(key)
    elif kind == b"zset":
        values = client.zrange(key, 0, -1)
    elif kind == b"stream":
        values = client.xrange(key)
    return f"{key!r} {values!r}"
