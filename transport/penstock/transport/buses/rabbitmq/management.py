"""The broker's management API, as far as the topology needs it: what exists, and policies, which AMQP knows nothing of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from penstock.contracts.errors import BusUnavailable, InvalidInput
from penstock.transport.buses.rabbitmq.permissions import Permissions
from penstock.transport.buses.rabbitmq.policies import Policy

_SECONDS = 15.0
_SETTING = "PENSTOCK_BROKER_MANAGEMENT_URL"
Listed = Mapping[str, Any]
"""An object as the API lists it."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What exists in a virtual host."""

    exchanges: Sequence[Listed]
    queues: Sequence[Listed]
    bindings: Sequence[Listed]
    policies: Sequence[Listed]


class Management:
    """The API for one virtual host, for as long as the context lasts.

    :param url: http://user:password@host:15672
    :raises InvalidInput: the URL can't be used.
    """

    def __init__(self, url: str, virtual_host: str) -> None:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            # Its text may hold the password.
            raise InvalidInput(f"{_SETTING} can't be read: write http://user:password@host:15672, with %-escapes in it") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InvalidInput(f"{_SETTING} has the scheme {parsed.scheme!r}: write http://user:password@host:15672, or https://")
        self._virtual_host = virtual_host
        self._user = parsed.username or "guest"
        self._place = f"{parsed.host}:{parsed.port or urlsplit(url).port or 80}"
        account = httpx.BasicAuth(self._user, parsed.password or "guest")
        base = parsed.copy_with(username=None, password=None, query=None)
        self._http = httpx.AsyncClient(base_url=base, auth=account, timeout=_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def observe(self) -> Observed:
        """:raises BusUnavailable: saying why it can't be asked, and what to do."""
        return Observed(
            exchanges=await self._listed("exchanges"),
            queues=await self._listed("queues"),
            bindings=await self._listed("bindings"),
            policies=await self._listed("policies"),
        )

    async def set_policy(self, policy: Policy) -> None:
        body = {"pattern": policy.pattern, "definition": policy.definition, "priority": policy.priority, "apply-to": policy.governs.value}
        await self._ask("PUT", f"policies/{self._vhost}/{quote(policy.name, safe='')}", body)

    async def set_permissions(self, wanted: Permissions) -> None:
        """Of a user who exists; takes an administrator."""
        path = f"{self._vhost}/{quote(wanted.user, safe='')}"
        await self._ask("PUT", f"permissions/{path}", {"configure": wanted.configure, "write": wanted.write, "read": wanted.read})
        for topic in wanted.topics:
            body = {"exchange": topic.exchange.value, "write": topic.write, "read": topic.read}
            await self._ask("PUT", f"topic-permissions/{path}", body)

    @property
    def _vhost(self) -> str:
        return quote(self._virtual_host, safe="")

    async def _listed(self, kind: str) -> Sequence[Listed]:
        found: Sequence[Listed] = (await self._ask("GET", f"{kind}/{self._vhost}")).json()
        return found

    async def _ask(self, method: str, path: str, body: object | None = None) -> httpx.Response:
        what = f"RabbitMQ's management API at {self._place}, virtual host {self._virtual_host!r}, user {self._user!r}"
        try:
            answer = await self._http.request(method, f"/api/{path}", json=body)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise BusUnavailable(
                f"{what}: {reason}; check {_SETTING}, and that the plugin runs: rabbitmq-plugins enable rabbitmq_management"
            ) from error
        if not answer.is_success:
            raise BusUnavailable(f"{what}: {method} {path} was answered by {answer.status_code} {_reason(answer)}; {self._advice(answer)}")
        return answer

    def _advice(self, answer: httpx.Response) -> str:
        match answer.status_code:
            case 401 if "login" in answer.text.lower():
                return f"check the user and the password in {_SETTING}"
            case 401 | 403:
                return (
                    f"the user needs the tag policymaker (rabbitmqctl set_user_tags {self._user} policymaker) "
                    f"and permissions in the virtual host (rabbitmqctl set_permissions)"
                )
            case 404:
                return f"check that {_SETTING} is the root of the API and that the virtual host exists (rabbitmqctl add_vhost)"
            case _:
                return "see the broker's log"


def _reason(answer: httpx.Response) -> str:
    """As it is written: it is for people, and not always JSON."""
    return answer.text[:300].strip()
