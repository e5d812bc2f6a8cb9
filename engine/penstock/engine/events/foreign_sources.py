"""What only Penstock itself may say: an event that claims to be a workspace's own is refused, or anybody could feign runs. Pure."""

from collections.abc import Sequence

from penstock.contracts.cloud_events import ReceivedEvent
from penstock.contracts.errors import ContractError


def check_foreign(received: Sequence[ReceivedEvent]) -> None:
    """:raises ContractError: one names as its source the workspace that it is for."""
    for one in received:
        own = f"/penstock/{one.workspace}"
        if one.event.source == own or one.event.source.startswith(f"{own}/"):
            raise ContractError(
                f"source: {one.event.source[:80]!r} is what the workspace calls itself; name the system that the event is from"
            )
