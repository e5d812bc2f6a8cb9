"""What the API is told: whose runs it serves, who may ask, and how much it takes in."""

from dataclasses import dataclass, field
from importlib.metadata import version

from penstock.contracts.errors import InvalidInput
from penstock.contracts.names import DEFAULT_WORKSPACE
from penstock.engine.outgoing.webhook_addresses import INTERNET, Allowed

CONTRACT = 1
"""The version of what requests and answers mean. Additions don't change it."""
CONTRACT_HEADER = "Penstock-Contract"
SOFTWARE_HEADER = "Penstock-Version"
MINIMAL_TOKEN = 16
HOW_TO_MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def software_version() -> str:
    """The version of this Penstock."""
    return version("penstock")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """`token` None: whoever reaches it may do everything, so it answers on loopback addresses only.

    :raises InvalidInput: the token is short enough to be guessed.
    """

    token: str | None = field(default=None, repr=False)
    workspace: str = DEFAULT_WORKSPACE
    owner: str | None = None
    """The process that drives the runs, where several share a state folder; None: whoever coordinates."""
    json_limit_bytes: int = 16 * 1024 * 1024
    """Of a request that carries no artifact."""
    upload_limit_bytes: int = 64 * 1024 * 1024 * 1024
    """Of one artifact."""

    signing_key: bytes | None = field(default=None, repr=False)
    """The services' signing key, from which the secrets of webhooks follow and which signs links; None: neither can be made here."""
    webhooks_allowed: Allowed = INTERNET
    """Where webhooks may go besides the internet."""

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < MINIMAL_TOKEN:
            raise InvalidInput(f"the API's token has fewer than {MINIMAL_TOKEN} characters; make one with: {HOW_TO_MAKE_ONE}")
