"""Webhooks: how deliveries are signed, when they are tried again, and the port through which they go.

Signatures are those of Standard Webhooks: HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 3600.0
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
WANTS_NO_MORE = 410
"""With this status a receiver ends its subscription."""
_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a delivery: the receiver's status, or None and why there is none. `retry_seconds`: it asked for so long a pause."""

    status: int | None
    error: str = ""
    retry_seconds: float | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class WebhookSender(Protocol):
    """Promised: it ends within seconds, follows no redirect, connects to no address that is not allowed, and raises nothing. Not promised:
    that the receiver has not seen what ended without a status."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer: ...


def secret_of(key: bytes, workspace: str, subscription: str, generation: int) -> bytes:
    """The secret of a subscription. It follows from the services' signing key, so no store holds it."""
    return hmac.digest(key, f"penstock webhook|{workspace}|{subscription}|{generation}".encode(), hashlib.sha256)


def shown(secret: bytes) -> str:
    """A secret as people hand it on."""
    return _PREFIX + base64.b64encode(secret).decode()


def signed_headers(secrets: Sequence[bytes], message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery at that second since 1970; a receiver takes it if it knows any one of the secrets."""
    content = f"{message_id}.{seconds}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode() for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        "content-type": CONTENT_TYPE,
    }


def pause_seconds(message_id: str, tries: int, asked: float | None = None) -> float:
    """Until the next try, after so many: twice as long each time, and less by up to a half, so that many don't come back together."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(tries - 1, 20))
    # Chance that follows from the message: the same in every process.
    share = int.from_bytes(hashlib.sha256(f"{message_id}/{tries}".encode()).digest()[:4]) / 2**32
    return max(longest * (1 - share / 2), min(asked or 0.0, LONGEST_PAUSE_SECONDS))
