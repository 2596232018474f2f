#!/usr/bin/env python3
"""Submit records to Consilium, wait for them, download what came of them. Needs httpx (`pip install httpx`).

    CONSILIUM_KEY=cons_… python client.py bundles/ --url https://consilium.example --out results/

The path is a file (NDJSON, CSV, FHIR; also gzipped) or a folder of FHIR files, which becomes one input. Run
it again after whatever went wrong: the same content is never submitted twice.

Exit codes: 0 everything has a recommendation; 6 some records were set aside or failed, and are told; 1 it
could not be done, and why.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

TYPES = {".csv": "text/csv"}  # of any other file the content tells, FHIR or not
AGAIN = (408, 409, 429, 502, 503, 504)  # nothing is wrong with the request: the same later
GIVE_UP_S = 600.0  # without any success


def prepared(path: Path, spool: Path) -> tuple[Path, str]:
    """The body and its content type; of a folder one NDJSON, for resources may refer to other files' ones."""
    if path.is_file():
        return path, TYPES.get(Path(path.name.removesuffix(".gz")).suffix, "application/octet-stream")
    with spool.open("wb") as body:
        for each in sorted(each for each in path.rglob("*.*json*") if each.is_file()):
            content = gzip.decompress(each.read_bytes()) if each.suffix == ".gz" else each.read_bytes()
            if ".ndjson" not in each.name:
                content = json.dumps(json.loads(content)).encode()  # on one line
            body.write(content.rstrip() + b"\n")
    return spool, "application/fhir+ndjson"


def digest(body: Path, options: dict[str, str]) -> str:
    """The Idempotency-Key: the same content with the same options is the same submission."""
    with body.open("rb") as content:
        found = hashlib.file_digest(content, "sha256")
    found.update(json.dumps(sorted(options.items())).encode())
    return found.hexdigest()


def ask(
    client: httpx.Client,
    method: str,
    path: str,
    body: Path | None = None,
    to: Path | None = None,
    **more: Any,
) -> httpx.Response:
    """One request, sent again while server or network are away; the answer goes to a file if one is named.

    Raises SystemExit, with what the server says, for whatever will not become better.
    """
    since = None  # the first failure: an upload may take longer than that
    while True:
        try:
            with (
                body.open("rb") if body else contextlib.nullcontext() as content,
                client.stream(method, path, content=content, **more) as answer,
            ):
                if answer.is_success and to:
                    part = to.with_suffix(".part")
                    with part.open("wb") as file:
                        file.writelines(answer.iter_bytes())
                    part.replace(to)  # it has its name once it is complete
                else:
                    answer.read()
            if answer.is_success:
                return answer
            why, wait = f"HTTP {answer.status_code}", answer.headers.get("Retry-After")
            if answer.status_code not in AGAIN or (answer.status_code == 409 and not wait):
                raise SystemExit(f"{method} {path}: {why}: {told(answer)}")
        except httpx.TransportError as error:
            why, wait = type(error).__name__, None
        since = since or time.monotonic()
        if time.monotonic() - since > GIVE_UP_S:
            raise SystemExit(f"{method} {path}: {why} for {GIVE_UP_S:.0f} s: run this again later")
        time.sleep(float(wait or 5))


def path_of(url: str, client: httpx.Client) -> str:
    """Of what the server names, below our own address: the key goes to no other server than it is for."""
    return httpx.URL(url).raw_path.decode().removeprefix(client.base_url.raw_path.decode().rstrip("/"))


def told(answer: httpx.Response) -> str:
    """What a problem (RFC 9457) says, and of which records."""
    try:
        problem = answer.json()
    except ValueError:
        return answer.reason_phrase
    return "\n  ".join([str(problem.get("detail")), *map(str, problem.get("errors") or ())])


def main() -> int:
    """Submit, poll, download."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--url", required=True, help="of the API, without /v1")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--option", action="append", default=[], help="of the submission: n=5, strict=true …")
    given = parser.parse_args()
    options = dict(option.split("=", 1) for option in given.option)
    headers = {"Authorization": f"Bearer {os.environ['CONSILIUM_KEY']}"}
    given.out.mkdir(parents=True, exist_ok=True)
    with (
        httpx.Client(base_url=given.url, headers=headers, timeout=120) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        body, type_ = prepared(given.path, Path(folder, "body"))
        sent = {"Content-Type": type_, "Idempotency-Key": digest(body, options)}
        accepted = ask(client, "POST", "/v1/submissions", body, params=options, headers=sent)
        at = path_of(accepted.headers["Content-Location"], client)
        print(f"{at}: {accepted.json()['accepted']} of {accepted.json()['records']} records accepted")
        while (status := ask(client, "GET", at)).status_code == 202:
            print(status.headers["X-Progress"])
            time.sleep(float(status.headers["Retry-After"]))
        for file in status.json()["output"] + status.json()["error"]:
            to = given.out / f"{file['type']}.ndjson"
            ask(client, "GET", path_of(file["url"], client), to=to)
            print(to)
    wrong = 0
    with (given.out / "Result.ndjson").open(encoding="utf-8") as results:
        for row in map(json.loads, results):
            if row["state"] not in ("completed", "needs_review"):
                wrong += 1
                where = f"{row['error_path']}: " if row["error_path"] else ""
                print(f"line {row['line']}: {row['state']}: {where}{row['reason']}", file=sys.stderr)
    return 6 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
