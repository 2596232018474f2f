"""Tokens for clients that sign their requests (SMART App Launch 2.2, Backend Services).

A token is a key like any other, for five minutes. The client's public keys are those that were registered:
no address of keys (`jku`, `jwks_uri`) is ever fetched.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from db.engine import source_transaction
from db.queries import api_clients
from producers.api import assertions
from producers.api.access import Site, site
from producers.api.assertions import ALGORITHMS, Refused
from producers.api.problems import Problem, documented

router = APIRouter(tags=["tokens"])

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MOST_BYTES = 65_536
READ, SUBMIT, OPERATE = {"read"}, {"submit"}, {"operate"}
SCOPES: dict[str, set[str]] = {
    "system/*.read": READ,
    "system/*.rs": READ,
    "system/*.write": SUBMIT,
    "system/*.c": SUBMIT,
    "system/Bundle.c": SUBMIT,
    "system/*.d": OPERATE,
    "system/*.cruds": READ | SUBMIT | OPERATE,
}
"""SMART's scopes (v1 and v2) and ours. Ours are not narrower than this, so neither is any that is granted."""

_FORM = {
    "required": True,
    "content": {
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "required": ["grant_type", "client_assertion_type", "client_assertion", "scope"],
                "properties": {
                    "grant_type": {"type": "string", "const": "client_credentials"},
                    "client_assertion_type": {"type": "string", "const": ASSERTION_TYPE},
                    "client_assertion": {"type": "string", "description": "A JWT, signed by your key."},
                    "scope": {"type": "string", "examples": ["system/*.read system/Bundle.c"]},
                },
            }
        }
    },
}


class Token(BaseModel):
    """What opens the API for a while."""

    access_token: str = Field(examples=["cons_…"])
    token_type: str = "bearer"
    expires_in: int = Field(description="Seconds.", examples=[300])
    scope: str = Field(description="What of it was granted.", examples=["system/*.read"])


class OAuthError(BaseModel):
    """Why there is no token (RFC 6749 section 5.2)."""

    error: str = Field(examples=["invalid_client"])
    error_description: str


class SmartConfiguration(BaseModel):
    """What this server can do (SMART App Launch 2.2)."""

    token_endpoint: str
    token_endpoint_auth_methods_supported: list[str] = ["private_key_jwt"]
    token_endpoint_auth_signing_alg_values_supported: list[str] = sorted(ALGORITHMS.values())
    grant_types_supported: list[str] = ["client_credentials"]
    scopes_supported: list[str] = list(SCOPES)
    capabilities: list[str] = ["client-confidential-asymmetric", "permission-v1", "permission-v2"]


async def _form(request: Request) -> dict[str, str]:
    """The fields of the body, each once. Raises `Problem` 413."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Problem(413, f"the body has more than {MOST_BYTES} bytes", type_="too-large")
    try:
        found = parse_qs(body.decode(), max_num_fields=20)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def token_url(site: Site, request: Request) -> str:
    """The address that a client knows this route by."""
    if (public := site.settings.api_public_url) is not None:
        return f"{public.rstrip('/')}/v1/token"
    return str(request.url_for("token"))


@router.get("/.well-known/smart-configuration")
def smart_configuration(request: Request, site: Annotated[Site, Depends(site)]) -> SmartConfiguration:
    """Where tokens are given, and for what."""
    return SmartConfiguration(token_endpoint=token_url(site, request))


@router.post(
    "/token",
    name="token",
    response_model=Token,
    openapi_extra={"requestBody": _FORM},
    responses={
        400: {"model": OAuthError, "description": "Something is missing, or no scope can be granted."},
        401: {"model": OAuthError, "description": "The client could not be authenticated."},
        **documented(413, 429),
    },
)
def token(
    request: Request, site: Annotated[Site, Depends(site)], form: Annotated[dict[str, str], Depends(_form)]
) -> JSONResponse:
    """A token for a client that proves by its signature who it is."""
    if form.get("grant_type") != "client_credentials":
        return _error(400, "unsupported_grant_type", "grant_type is client_credentials")
    if form.get("client_assertion_type") != ASSERTION_TYPE or "client_assertion" not in form:
        return _error(400, "invalid_request", f"client_assertion_type is {ASSERTION_TYPE}, and a JWT is sent")
    assertion, asked = form["client_assertion"], form.get("scope", "").split()
    try:
        who = assertions.client_id(assertion)
        with source_transaction(site.settings.require_database(), None, "enter") as session:
            client = api_clients.client(session, who)
            if client is None:
                raise Refused("it is not signed by a key of this client, or its claims are wrong")
            proven = assertions.prove(assertion, who, client.jwks, [token_url(site, request)])
            site.limits.request(client.source_id, client.requests_per_minute)
            granted = [each for each in asked if each in SCOPES and SCOPES[each] <= set(client.scopes)]
            if not granted:
                return _error(400, "invalid_scope", f"none of these may be granted; ours: {' '.join(SCOPES)}")
            ours = sorted(set().union(*(SCOPES[scope] for scope in granted)))
            made = api_clients.issue(session, client, proven.jti, proven.expires_at, ours)
            if made is None:
                raise Refused("its `jti` was used before: sign a new one for each request")
    except Refused as error:
        return _error(401, "invalid_client", f"the assertion is refused: {error}")
    seconds = int(api_clients.TOKEN_LASTS.total_seconds())
    given = Token(access_token=made, expires_in=seconds, scope=" ".join(granted))
    return _answer(200, given.model_dump())


def _error(status: int, code: str, description: str) -> JSONResponse:
    return _answer(status, OAuthError(error=code, error_description=description).model_dump())


def _answer(status: int, body: dict[str, Any]) -> JSONResponse:
    return JSONResponse(body, status, {"Cache-Control": "no-store"})
