"""Where webhooks may go: to addresses of the internet by https. Others only where whoever operates the services has named them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from penstock.contracts.errors import InvalidInput

Address = IPv4Address | IPv6Address
# Behind this prefix gateways reach IPv4 addresses, whose rules then hold.
_TRANSLATED = IPv6Network("64:ff9b::/96")
HOW_TO_ALLOW = "whoever operates the services can allow hosts and networks in PENSTOCK_WEBHOOK_ALLOW"


@dataclass(frozen=True, slots=True)
class Allowed:
    """`hosts` may be anywhere and be reached by plain http; addresses in `networks` too."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = field(default=())

    @classmethod
    def of(cls, entries: Iterable[str]) -> "Allowed":
        """:raises InvalidInput: an entry is neither a host's name nor an address nor a network."""
        hosts: set[str] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for entry in (given.strip().lower() for given in entries if given.strip()):
            try:
                networks.append(ip_network(entry))
            except ValueError as error:
                if "/" in entry or not all(part.replace("-", "").isalnum() for part in entry.rstrip(".").split(".")):
                    raise InvalidInput(f"{entry!r} in PENSTOCK_WEBHOOK_ALLOW is no host, address or network: {error}") from error
                hosts.add(entry.rstrip("."))
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str) -> bool:
        """Whether the host stands among the allowed ones, by name or by address."""
        address = _literal(host)
        return host.lower().rstrip(".") in self.hosts if address is None else self.has(address)

    def has(self, address: Address) -> bool:
        return any(address in network for network in self.networks if network.version == address.version)


INTERNET = Allowed()
"""Nothing but the internet."""


def check_url(url: str, allowed: Allowed) -> None:
    """:raises InvalidInput: no webhook may go there, whatever its host resolves to."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidInput(f"the webhook's URL can't be read: {error}") from error
    if parts.scheme not in ("https", "http") or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput("a webhook's URL is https://host/path, in printable ASCII")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidInput("a webhook's URL has no user, no password and no fragment: put a token into its path or query")
    if parts.scheme == "http" and not allowed.names(host):
        raise InvalidInput(f"the webhook's URL must begin with https: plain http is for hosts that are allowed by name ({HOW_TO_ALLOW})")
    address = _literal(host)
    if address is not None:
        check_address(host, address, allowed)


def check_address(host: str, address: Address, allowed: Allowed) -> None:
    """:raises InvalidInput: that address of `host` is no place for webhooks."""
    inner = _inner(address)
    if host.lower().rstrip(".") in allowed.hosts or allowed.has(address) or allowed.has(inner):
        return
    is_of_a_site = isinstance(inner, IPv6Address) and inner.is_site_local
    if not inner.is_global or inner.is_multicast or inner.is_reserved or is_of_a_site:
        raise InvalidInput(f"{host} is at {address}, which is no address of the internet: webhooks don't go there ({HOW_TO_ALLOW})")


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
