"""Webhooks over HTTP: to the address that was checked and no other, without redirects, proxies or patience."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
from typing_extensions import override

from penstock.contracts.errors import InvalidInput
from penstock.engine.api.settings import software_version
from penstock.engine.outgoing.webhook_addresses import Allowed, check_address, check_url
from penstock.engine.outgoing.webhooks import Answer, WebhookSender

SECONDS = 10.0
"""For everything: the name, the connection, the answer."""
ANSWER_BYTES = 4096
"""Of an answer's body, which nobody reads, so much is waited for."""


class HttpWebhookSender(WebhookSender):
    """`client` follows nothing and keeps nothing, as that of `webhook_sender`."""

    def __init__(self, client: httpx.AsyncClient, allowed: Allowed, seconds: float = SECONDS) -> None:
        self._client = client
        self._allowed = allowed
        self._seconds = seconds

    @override
    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(url, headers, body)
        except TimeoutError:
            return Answer(None, f"no answer within {self._seconds:g} s")
        except InvalidInput as error:
            return Answer(None, str(error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            return Answer(None, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        check_url(url, self._allowed)
        parts = urlsplit(url)
        host = parts.hostname or ""
        address = await self._checked_address(host, parts.port or (443 if parts.scheme == "https" else 80))
        # The name may lead elsewhere a moment later: what was checked is what is connected to. Certificates are still of the name.
        pinned = httpx.URL(url).copy_with(host=address)
        given = {**headers, "host": parts.netloc, "user-agent": f"penstock/{software_version()}"}
        async with self._client.stream("POST", pinned, content=body, headers=given, extensions={"sni_hostname": host}) as response:
            await _drain(response)
            return Answer(response.status_code, _refusal(response), _retry_seconds(response))

    async def _checked_address(self, host: str, port: int) -> str:
        """:raises InvalidInput: one of the host's addresses is no place for webhooks."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        for address in addresses:
            check_address(host, ip_address(address), self._allowed)
        return addresses[0]


@asynccontextmanager
async def webhook_sender(allowed: Allowed, seconds: float = SECONDS) -> AsyncGenerator[HttpWebhookSender]:
    """A sender that keeps no connections to itself once it is left."""
    # No connection is used again: names that share an address don't share certificates.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=SECONDS, limits=limits, cookies=cookies) as client:
        yield HttpWebhookSender(client, allowed, seconds)


async def _drain(response: httpx.Response) -> None:
    """Lets the receiver say what it has to say, up to a point."""
    taken = 0
    async for part in response.aiter_raw():
        taken += len(part)
        if taken > ANSWER_BYTES:
            return


def _refusal(response: httpx.Response) -> str:
    if response.is_redirect:
        return f"the receiver answered {response.status_code}, a redirect, which webhooks don't follow: subscribe to where it leads"
    return "" if response.is_success else f"the receiver answered {response.status_code}"


def _retry_seconds(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 8 else None
