"""300 bodies that are wrong in some way: each is refused with a reason and leaves nothing."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from db.queries.model_versions import versions_for_seats
from tests.accepted import ask
from tests.producers.api.conftest import Door
from tests.producers.api.test_submissions import line, rows, small_chunks

__all__ = ["small_chunks"]
BODIES = 300
SECRET = "ZEBRA-4711"
Made = tuple[str, bytes, dict[str, str]]
"""Content type, body, and more headers."""

NDJSON, JSON, CSV, FHIR = "application/x-ndjson", "application/json", "text/csv", "application/fhir+json"
LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">
<!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;">]><Bundle xmlns="http://hl7.org/fhir">&lol2;</Bundle>"""
PLAIN = f"A man of seventy has had chest pain on exertion: {SECRET}."


def good(rng: random.Random, most: int = 4) -> bytes:
    """Some good records."""
    return b"".join(line(f"{rng.random()}", vignette=PLAIN) for _ in range(rng.randint(1, most)))


def bundle(*resources: Any, **more: Any) -> bytes:
    """A FHIR Bundle."""
    entry = [{"resource": each} for each in resources]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entry, **more}).encode()


def one(field: str) -> bytes:
    """A record with this text (JSON) as a further member."""
    return f'{{"id": "a", "vignette": "{PLAIN}", {field}}}\n'.encode()


def cut_gzip(rng: random.Random) -> Made:
    whole = gzip.compress(bytes(rng.choices(b'{}[]":,abc', k=3_000)) + good(rng))
    return NDJSON, whole[: rng.randint(3, len(whole) - 1)], {"Content-Encoding": "gzip"}


def flipped_gzip(rng: random.Random) -> Made:
    whole = bytearray(gzip.compress(good(rng)))
    whole[rng.randint(2, len(whole) - 5)] ^= 1 << rng.randint(0, 7)
    whole[-6] ^= 255  # the checksum, in any case
    return NDJSON, bytes(whole), {}


def garbage(rng: random.Random) -> Made:
    packed = rng.random() < 0.5
    body = b"\x00" + rng.randbytes(rng.randint(1, 2_000))
    return rng.choice((NDJSON, JSON, FHIR)), gzip.compress(body) if packed else body, {}


def not_gzip(rng: random.Random) -> Made:
    return NDJSON, good(rng), {"Content-Encoding": rng.choice(("gzip", "x-gzip", "br", "deflate", "zstd"))}


def charset(rng: random.Random) -> Made:
    coding = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp037"))
    return NDJSON, one('"context": {"specialty": "Zürich"}').decode().encode(coding), {}


def said_charset(rng: random.Random) -> Made:
    return f"{NDJSON}; charset={rng.choice(('utf-16', 'iso-8859-1', 'klingon'))}", good(rng), {}


def deep(rng: random.Random) -> Made:
    depth = rng.choice((2_000, 50_000))
    inner = rng.choice(("[", '{"a":'))
    return rng.choice((NDJSON, JSON, FHIR)), one(f'"context": {inner * depth}'), {}


def long_line(rng: random.Random) -> Made:
    return rng.choice((NDJSON, JSON, CSV)), one(f'"context": "{"x" * rng.choice((300_000, 500_000))}"'), {}


def duplicate_fields(_rng: random.Random) -> Made:
    return NDJSON, one('"id": "b"'), {}


def nul(rng: random.Random) -> Made:
    return NDJSON, one('"kind": "@"').replace(b"@", rng.choice((b"\x00", b"\\u0000"))), {}


def invalid_utf8(rng: random.Random) -> Made:
    broken = rng.choice((b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf"))
    return rng.choice((NDJSON, JSON)), one('"kind": "@"').replace(b"@", broken), {}


def laughs(rng: random.Random) -> Made:
    return rng.choice((JSON, NDJSON, FHIR, "application/fhir+xml", "text/xml")), LAUGHS, {}


def unresolved(rng: random.Random) -> Made:
    nobody = {"reference": f"Patient/{rng.randint(1, 99)}"}
    about = {"resourceType": "Condition", "subject": nobody, "code": {"text": SECRET}}
    return FHIR, bundle(about, {"resourceType": "Observation", "subject": {"reference": "urn:uuid:0"}}), {}


def no_bundle(rng: random.Random) -> Made:
    return (
        FHIR,
        rng.choice(
            (
                b'{"resourceType": "Bundle", "entry": {"a": 1}}',
                b'{"resourceType": "Bundle", "entry": [1, null, {}, {"resource": 7}]}',
                b'{"resourceType": 7}',
                b'{"entry": []}',
                b"[[[]]]",
                b'"Bundle"',
                b"null",
                bundle({"resourceType": "Patient", "birthDate": {"a": SECRET}}),
                bundle({"resourceType": "Patient", "id": ["p"], "name": SECRET}),
            )
        ),
        {},
    )


def numbers(rng: random.Random) -> Made:
    value = rng.choice(("NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000, "-1", "1" + "0" * 400, "0x1F"))
    return rng.choice((NDJSON, JSON)), one(f'"context": {{"age": {value}}}'), {}


def empty(rng: random.Random) -> Made:
    body = rng.choice((b"", b"\xef\xbb\xbf", b"\n\n", b" " * 70_000, gzip.compress(b""), b"\xef\xbb\xbf\r\n"))
    return rng.choice((NDJSON, JSON, CSV, FHIR, "text/plain")), body, {}


def no_content(_rng: random.Random) -> Made:
    return JSON, b"[]", {}


def other_type(rng: random.Random) -> Made:
    kind = rng.choice(("multipart/form-data; boundary=x", "application/pdf", "image/png", "text/html", "x"))
    return kind, good(rng), {}


def header(rng: random.Random) -> Made:
    first = rng.choice(
        (f"id,{SECRET}", f"{SECRET},{SECRET}", "id,vignette,id", '"id,vignette', f"id;{PLAIN}")
    )
    return CSV, f"{first}\n1,{PLAIN}\n".encode(), {}


def csv_rows(rng: random.Random) -> Made:
    row = rng.choice(("1", f'1,"{PLAIN}', f"1,{PLAIN},x", "1,short", f"1,{PLAIN}\x00", ","))
    return CSV, f"id,vignette\n{row}\n".encode(), {}


def not_to_its_end(rng: random.Random) -> Made:
    """Good records, more than a chunk, and then something that is none."""
    elements = good(rng, 40).strip().replace(b"\n", b",")
    return JSON, b"[" + elements + rng.choice((b"", b",", b',{"id"', b"]]", b"] x")), {}


def documents(rng: random.Random) -> Made:
    return (
        rng.choice((NDJSON, JSON, "text/plain")),
        rng.choice(
            (
                b"PK\x03\x04" + rng.randbytes(99),
                b"%PDF-1.7\n",
                b"7",
                b"true",
                b'"text"',
                b"{}",
                b"[[]]",
                b"{",
                b"}",
            )
        ),
        {},
    )


KINDS: tuple[Callable[[random.Random], Made], ...] = (
    *(cut_gzip, flipped_gzip, garbage, not_gzip, charset, said_charset, deep, long_line, duplicate_fields),
    *(nul, invalid_utf8, laughs, unresolved, no_bundle, numbers, empty, no_content, other_type, header),
    *(csv_rows, not_to_its_end, documents),
)


def made() -> Iterator[tuple[str, Made]]:
    """The bodies: each kind in turn, with the number that makes it again."""
    for number in range(BODIES):
        kind = KINDS[number % len(KINDS)]
        yield f"{kind.__name__} {number}", kind(random.Random(number))


def test_each_is_refused_with_a_reason_and_leaves_nothing(door: Door) -> None:
    """Of what was stored before the fault was met only a cancelled submission without text is left."""
    refused: dict[int, int] = {}
    with door.ctx.transaction() as session:  # as on any site that has ever drawn: they need not be made
        versions_for_seats(session, door.ctx.registry.values())
    with door.client() as client:
        for name, (kind, body, headers) in made():
            answer = client.post("/submissions", content=body, headers={"Content-Type": kind, **headers})
            said = answer.json()
            assert 400 <= answer.status_code < 500, (name, answer.text)
            assert answer.headers["content-type"] == "application/problem+json", name
            assert (len(said["detail"]) > 20, said["status"]) == (True, answer.status_code), name
            assert SECRET not in answer.text, name
            refused[answer.status_code] = refused.get(answer.status_code, 0) + 1
        assert set(refused) == {400, 415, 422}
    left = rows(door)
    states = ask(
        door.ctx, "SELECT DISTINCT s.state, c.state FROM submissions s LEFT JOIN consultations c ON true"
    )
    assert (states, left["data_keys"]) == ([("cancelled", "cancelled")], 0), left
    assert ask(door.ctx, "SELECT count(*) FROM submission_chunks") == [(0,)]


@pytest.mark.parametrize("body", [b"x" * 10_000_000, one(f'"context": "{"x" * 10_000_000}"')])
def test_a_line_of_ten_megabytes(door: Door, body: bytes) -> None:
    """Among good ones it is set aside by its beginning; alone it is refused."""
    headers = {"Content-Type": NDJSON}
    with door.client() as client:
        assert client.post("/submissions", content=body, headers=headers).status_code == 422
        told = client.post(
            "/submissions", content=line("a") + body.strip() + b"\n" + line("b"), headers=headers
        )
    assert (told.status_code, told.json()["accepted"]) == (202, 2)
    assert [(e["line"], e["code"]) for e in told.json()["errors"]] == [(2, "too_long")]


def test_one_id_twice_in_a_body(door: Door) -> None:
    """The first is accepted and the second set aside with its line: the rest of a night's batch goes on."""
    with door.client() as client:
        told = client.post(
            "/submissions", content=line("a") + line("a"), headers={"Content-Type": NDJSON}
        ).json()
    assert (told["accepted"], told["set_aside"], told["errors"][0]["line"]) == (1, 1, 2)
