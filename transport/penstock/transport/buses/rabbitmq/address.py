"""Where the broker is and as whom to speak to it; only `url` holds the password."""

from dataclasses import dataclass, field
from urllib.parse import unquote

from typing_extensions import override
from yarl import URL

from penstock.contracts.errors import InvalidInput

_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class Address:
    """A broker, a virtual host and a user. Its text may be shown to anybody."""

    user: str
    host: str
    port: int
    virtual_host: str
    url: URL = field(repr=False)

    @override
    def __str__(self) -> str:
        return f"{self.host}:{self.port} (virtual host {self.virtual_host!r}, user {self.user!r})"


def parse_address(url: str) -> Address:
    """:raises InvalidInput: saying what is wrong, without the password."""
    try:
        parsed = URL(url)
        port = parsed.explicit_port
    except ValueError:
        # Its text may hold the password.
        raise InvalidInput("the broker's URL can't be read: write amqp://user:password@host:port/vhost, with %-escapes in it") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise InvalidInput(f"the broker's URL has the scheme {parsed.scheme!r}: write amqp://user:password@host:port/vhost, or amqps://")
    return Address(
        user=parsed.user or "guest",
        host=parsed.host,
        port=port or _PORTS[parsed.scheme],
        virtual_host=unquote(parsed.raw_path[1:]) or "/",
        url=parsed,
    )
