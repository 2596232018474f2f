"""What a client signs to get a token: a JWT in place of a password (SMART App Launch 2.2, Asymmetric Client
Authentication; RFC 7523), and the keys that it may be signed with.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import exceptions as wrong

from shared.errors import ConsiliumError, SettingsError

ALGORITHMS = {"RSA": "RS384", "EC": "ES384"}
"""By the key's type. The key alone decides: what the header claims must be that."""
LONGEST = timedelta(minutes=5)
SKEW = timedelta(seconds=30)
"""A client's clock may differ by this."""
_CLAIMS = ["iss", "sub", "aud", "exp", "jti"]
_MOST_KEYS, _LEAST_BITS = 20, 2048


class Refused(ConsiliumError):
    """This assertion proves nothing; the message says why and quotes none of it."""


@dataclass(frozen=True)
class Proven:
    """What a good assertion says."""

    jti: str
    expires_at: datetime


def client_id(assertion: str) -> uuid.UUID:
    """Whom it claims to be from; nothing is proven by it. Raises `Refused`."""
    try:
        claims = jwt.decode(assertion, options={"verify_signature": False, "verify_exp": False})
        return uuid.UUID(claims["iss"])
    except (jwt.PyJWTError, KeyError, ValueError, AttributeError, TypeError, OverflowError):
        raise Refused("it is no JWT whose `iss` is a client's id") from None


def prove(assertion: str, who: uuid.UUID, jwks: dict[str, Any], audience: Sequence[str]) -> Proven:
    """Check the signature by the client's keys, for whom it is meant, and its times. Raises `Refused`."""
    try:
        kid = jwt.get_unverified_header(assertion).get("kid")
        [key] = [key for key in jwks["keys"] if key["kid"] == kid]
        algorithm = ALGORITHMS[key["kty"]]
        claims = jwt.decode(
            assertion,
            jwt.PyJWK(key, algorithm).key,
            algorithms=[algorithm],
            audience=list(audience),
            issuer=str(who),
            leeway=SKEW,
            options={"require": _CLAIMS},
        )
        expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
    except wrong.InvalidAudienceError:
        raise Refused(f"its `aud` is not {audience[0]}") from None
    except wrong.ExpiredSignatureError:
        raise Refused("it is expired") from None
    except wrong.MissingRequiredClaimError:
        raise Refused(f"it must have the claims {', '.join(_CLAIMS)}") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, OSError):
        raise Refused("it is not signed by a key of this client, or its claims are wrong") from None
    if expires_at > datetime.now(UTC) + LONGEST + SKEW:
        raise Refused(f"its `exp` is more than {LONGEST.seconds // 60} minutes away")
    if claims["sub"] != claims["iss"] or not isinstance(claims["jti"], str) or not claims["jti"]:
        raise Refused("`iss` and `sub` are both the client's id, and `jti` is a text")
    return Proven(claims["jti"], expires_at)


def public_keys(given: object) -> dict[str, Any]:
    """The JWK Set with what is needed of it. Raises `SettingsError`: private, weak or nameless keys."""
    found = given.get("keys") if isinstance(given, dict) else None
    if not isinstance(found, list) or not 0 < len(found) <= _MOST_KEYS:
        raise SettingsError(f'a JWK Set is {{"keys": […]}} with 1 to {_MOST_KEYS} keys (RFC 7517)')
    keys = [_public(key, place) for place, key in enumerate(found, start=1)]
    if len({key["kid"] for key in keys}) < len(keys):
        raise SettingsError("two keys of the set have the same kid: each needs a name of its own")
    return {"keys": keys}


def _public(key: object, place: int) -> dict[str, str]:
    if not isinstance(key, dict) or not isinstance(key.get("kid"), str) or not key["kid"]:
        raise SettingsError(f"key {place} of the set has no kid: clients name their key by it")
    if {"d", "k", "p", "q"} & key.keys():
        raise SettingsError(f"key {place} of the set is private: register public keys, and keep that one")
    kept = {name: key[name] for name in ("kid", "kty", "n", "e", "crv", "x", "y") if name in key}
    try:
        made = jwt.PyJWK(kept, ALGORITHMS[kept["kty"]]).key
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        raise SettingsError(f"key {place} of the set is no RSA key and no EC key that can be read") from None
    if isinstance(made, RSAPublicKey):
        if made.key_size < _LEAST_BITS:
            raise SettingsError(f"key {place} of the set has {made.key_size} bits: {_LEAST_BITS} at least")
    elif kept.get("crv") != "P-384":
        raise SettingsError(f"key {place} of the set is not on P-384, which ES384 needs")
    return kept
