"""SMART Backend Services: a client that signs gets a token, and one that signs wrongly gets none."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlalchemy import text

from db.engine import transaction
from db.queries import api_clients
from producers.api.assertions import public_keys
from producers.api.tokens import ASSERTION_TYPE
from tests import accepted
from tests.producers.api.conftest import Door

RSA, EC = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())
KEYS = {"keys": [
    {**jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa"},
    {**jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec"},
]}  # fmt: skip


@dataclass
class Signer:
    """A registered client, outside."""

    door: Door
    id: str
    key: Any = EC
    kid: str = "ec"
    algorithm: str = "ES384"
    changes: dict[str, Any] = field(default_factory=dict)  # of the claims; None: left out

    def sign(self, **changes: Any) -> str:
        """An assertion as it should be, but for these claims."""
        claims = {
            "iss": self.id,
            "sub": self.id,
            "aud": f"{self.door.url}/v1/token",
            "exp": int(time.time()) + 240,
            "jti": str(uuid.uuid4()),
            **self.changes,
            **changes,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, self.key, self.algorithm, headers={"kid": self.kid})

    def ask(self, assertion: str | None = None, scope: str = "system/*.read", **form: str) -> httpx.Response:
        """Ask for a token."""
        sent = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.sign() if assertion is None else assertion,
            "scope": scope,
            **form,
        }
        return httpx.post(f"{self.door.url}/v1/token", data=sent, timeout=60)


@pytest.fixture
def signer(door: Door) -> Signer:
    """A client of `local` that may submit and read."""
    with transaction(door.ctx.settings.require_database()) as session:
        source = session.execute(text("SELECT id FROM sources WHERE name = 'local'")).scalar_one()
        made = api_clients.add(session, source, "engine", public_keys(KEYS), ("submit", "read"))
    return Signer(door, str(made))


def _get(door: Door, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{door.url}/v1/submissions", headers=headers, timeout=60).status_code


@pytest.mark.parametrize(("key", "kid", "algorithm"), [(RSA, "rsa", "RS384"), (EC, "ec", "ES384")])
def test_who_signs_gets_a_token_that_opens(signer: Signer, key: Any, kid: str, algorithm: str) -> None:
    """For five minutes, with what was asked for and may be granted; audited as the client's."""
    signer.key, signer.kid, signer.algorithm = key, kid, algorithm
    answer = signer.ask(scope="system/*.read system/*.d launch system/Patient.read")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    given = answer.json()
    assert {name: given[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "bearer",
        "expires_in": 300,
        "scope": "system/*.read",
    }
    assert _get(signer.door, given["access_token"]) == 200
    headers = {"Authorization": f"Bearer {given['access_token']}"}
    assert httpx.post(f"{signer.door.url}/v1/submissions", headers=headers).status_code == 403
    told = accepted.ask(signer.door.ctx, "SELECT who, what FROM audit")
    assert told == [(f"client {signer.id}", "token.issue")]


def test_a_token_ends(signer: Signer) -> None:
    """It is refused when its time is over, and at once when its client is revoked."""
    first, second = (signer.ask(scope="system/Bundle.c system/*.rs").json()["access_token"] for _ in range(2))
    secret = first.split("_", 2)[2]
    assert secret.encode() not in accepted.ask(signer.door.ctx, "SELECT digest FROM api_keys")[0][0]
    assert [_get(signer.door, token) for token in (first, second)] == [200, 200]
    key_id = str(uuid.UUID(first.split("_")[1]))
    accepted.ask(signer.door.ctx, "UPDATE api_keys SET expires_at = now() WHERE id = %s", key_id)
    assert [_get(signer.door, token) for token in (first, second)] == [401, 200]
    third = signer.ask()
    assert third.status_code == 200
    kept = accepted.ask(signer.door.ctx, "SELECT id::text FROM api_keys")
    assert (key_id,) not in kept, "what has ended is cleared away"
    with transaction(signer.door.ctx.settings.require_database()) as session:
        assert api_clients.revoke(session, uuid.UUID(signer.id))
    assert _get(signer.door, second) == 401
    assert signer.ask().status_code == 401


def test_an_assertion_is_taken_once(signer: Signer) -> None:
    assertion = signer.sign(jti="once")
    assert signer.ask(assertion).status_code == 200
    again = signer.ask(assertion)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert "jti" in again.json()["error_description"]
    assert signer.ask(signer.sign(jti="once")).status_code == 401


def test_wrong_claims_prove_nothing(signer: Signer) -> None:
    """Meant for another, too late or for too long, without a name of its own, in another's name."""
    for changes in (
        {"aud": "https://elsewhere.example/v1/token"},
        {"aud": None},
        *({"exp": at} for at in (1, int(time.time()) + 86_400, None, "soon", 10**30)),
        *({"jti": jti} for jti in (None, "", 7)),
        *({"sub": sub} for sub in (str(uuid.uuid4()), None)),
        *({"iss": iss} for iss in (str(uuid.uuid4()), "x", None, 7)),
        {"nbf": int(time.time()) + 3600},
    ):
        # PyJWT itself signs no `iss` but a text
        answer = signer.ask(signer.sign(**changes) if changes.get("iss") != 7 else "e30.eyJpc3MiOjd9.x")
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), changes
    assert accepted.ask(signer.door.ctx, "SELECT count(*) FROM api_keys") == [(0,)]


def test_wrong_signatures_prove_nothing(signer: Signer) -> None:
    """Another's key, another algorithm, none, an unknown kid, and every flipped bit of the signature."""
    good = signer.sign()
    head, body, signature = good.split(".")
    raw = jwt.utils.base64url_decode(signature)
    flipped = [
        jwt.utils.base64url_encode(
            bytes(b ^ (1 << bit) if i == at else b for i, b in enumerate(raw))
        ).decode()
        for at, bit in ((0, 0), (47, 7), (48, 0), (95, 3))
    ]
    claims = jwt.decode(good, options={"verify_signature": False})
    other = ec.generate_private_key(ec.SECP384R1())
    public = KEYS["keys"][1]["x"]
    for wrong in (
        *(f"{head}.{body}.{each}" for each in flipped),
        f"{head}.{body}.",
        jwt.encode(claims, other, "ES384", headers={"kid": "ec"}),
        jwt.encode(claims, EC, "ES384", headers={"kid": "rsa"}),
        jwt.encode(claims, EC, "ES384", headers={"kid": "two"}),
        jwt.encode(claims, EC, "ES384"),
        jwt.encode(claims, RSA, "RS256", headers={"kid": "rsa"}),
        jwt.encode(claims, public, "HS384", headers={"kid": "ec"}),
        jwt.encode(claims, None, "none", headers={"kid": "ec"}),
        "a.b.c",
        "é",
        "",
    ):
        answer = signer.ask(wrong)
        assert answer.status_code in (400, 401), wrong
        assert answer.json()["error"] in ("invalid_client", "invalid_request")
    assert signer.ask(good).status_code == 200, "a refused try does not use it up"


def test_wrong_requests_are_told(signer: Signer) -> None:
    for form, status, error in (
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_assertion_type": "x"}, 400, "invalid_request"),
        ({"scope": "system/*.d"}, 400, "invalid_scope"),
        ({"scope": ""}, 400, "invalid_scope"),
    ):
        answer = signer.ask(**form)
        assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_a_body_that_is_no_form_is_refused(door: Door) -> None:
    for body in (b"", b"\xff\xfe", b"{}", b"&".join([b"a=b"] * 50), b"grant_type=%00"):
        assert httpx.post(f"{door.url}/v1/token", content=body).status_code == 400
    answer = httpx.post(f"{door.url}/v1/token", content=b"x" * 100_000)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_the_configuration_names_the_endpoint(door: Door) -> None:
    """As SMART has it; a client signs for the address that stands there."""
    found = httpx.get(f"{door.url}/v1/.well-known/smart-configuration").json()
    assert found["token_endpoint"] == f"{door.url}/v1/token"
    assert found["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert set(found["token_endpoint_auth_signing_alg_values_supported"]) == {"ES384", "RS384"}
    assert "client-confidential-asymmetric" in found["capabilities"]
