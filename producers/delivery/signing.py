"""Signatures by Standard Webhooks 1.0: who has the secret knows that it was us, what we sent and when.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def headers(secret: bytes, event_id: str, at: int, body: bytes) -> dict[str, str]:
    """Headers of one attempt at `at` (seconds since 1970). The id stays the same however often it is sent."""
    mac = hmac.new(secret, f"{event_id}.{at}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(mac.digest()).decode()}",
    }
