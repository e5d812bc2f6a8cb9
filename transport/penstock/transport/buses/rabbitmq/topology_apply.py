"""Makes exist on the broker what must, sets the policies, waits until every quorum queue has a leader, and makes a wedged one anew.

One at a time: whoever changes something holds the exclusive queue `penstock.repair`, which goes with its connection.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ChannelNotFoundEntity, ChannelPreconditionFailed

from penstock.contracts.errors import BusUnavailable
from penstock.transport.buses.rabbitmq.address import Address
from penstock.transport.buses.rabbitmq.finding import APPLY, policy_differences
from penstock.transport.buses.rabbitmq.leader import leaderless
from penstock.transport.buses.rabbitmq.management import Management
from penstock.transport.buses.rabbitmq.operation import Operation, operation
from penstock.transport.buses.rabbitmq.policies import POLICIES
from penstock.transport.buses.rabbitmq.topology import DECLARE_SECONDS, QueueKind, Topology, declare
from penstock.transport.buses.rabbitmq.topology_check import LEADER_SECONDS

REPAIR_LOCK = "penstock.repair"
SETTLE_SECONDS = 2.0
"""A quorum queue younger than a second is wedged for ever where its broker is killed: the broker writes down late that it exists."""
_DELETE_SECONDS = 30.0  # of a queue without leader the broker gives up asking it after 5
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Applied:
    created: Sequence[str]
    """Queues."""
    repaired: Sequence[str]
    """Queues that were wedged. What they held is lost, and sent again from the store."""
    policies: Sequence[str]
    """The names of the policies that were set; none without the management API."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Patience:
    leader_seconds: float = LEADER_SECONDS
    settle_seconds: float = SETTLE_SECONDS
    lock_seconds: float = 60.0
    """Another one that applies or repairs may take so long."""


async def apply(
    address: Address,
    wanted: Topology,
    *,
    management: Management | None,
    patience: Patience | None = None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Applied:
    """Idempotent. Calls `on_wait` with what is waited for.

    :raises BusUnavailable: saying what could not be done, and what to do.
    """
    began = time.monotonic()
    patience = patience or Patience()
    async with operation(address, "penstock topology apply") as work:
        await _lock(work, address, patience.lock_seconds, on_wait)
        created = [queue.name for queue in wanted.queues if not await _exists(work, queue.name)]
        await _declare(work, wanted, address)
        on_wait("the leaders of the queues")
        repaired = await _repaired(work, wanted, address, patience)
        # Not before: a queue without leader keeps whoever sets a policy waiting for a minute.
        policies = [] if management is None else await _set_policies(management)
        if created or repaired:
            on_wait("the broker to write the new queues down")
            await asyncio.sleep(patience.settle_seconds)
    return Applied(created, repaired, policies, time.monotonic() - began)


async def repair(address: Address, wanted: Topology, *, patience: Patience | None = None) -> list[str]:
    """Makes those of the queues anew that have no leader, and says which. As `apply` does, without the rest.

    :raises BusUnavailable: it could not be done.
    """
    patience = patience or Patience()
    async with operation(address, "penstock repair") as work:
        await _lock(work, address, patience.lock_seconds, lambda _: None)
        repaired = await _repaired(work, wanted, address, patience)
        if repaired:
            await asyncio.sleep(patience.settle_seconds)
        return repaired


async def _set_policies(management: Management) -> list[str]:
    listed = {str(policy["name"]): policy for policy in (await management.observe()).policies}
    changed = [policy for policy in POLICIES if any(policy_differences(policy, listed.get(policy.name)))]
    for policy in changed:
        await management.set_policy(policy)
    return [policy.name for policy in changed]


async def _repaired(work: Operation, wanted: Topology, address: Address, patience: Patience) -> list[str]:
    quorum = [queue.name for queue in wanted.queues if queue.kind is QueueKind.QUORUM]
    lost = await leaderless(address, quorum, seconds=patience.leader_seconds)
    for queue in lost:
        await _delete(work, queue)
    if lost:
        await _declare(work, wanted, address)
        if still := await leaderless(address, lost, seconds=patience.leader_seconds):
            raise BusUnavailable(
                f"{', '.join(still)} at {address}: there is no leader even after the queue was made anew; "
                f"see whether the nodes of the cluster run (rabbitmqctl cluster_status), then {APPLY}"
            )
    return lost


async def _delete(work: Operation, queue: str) -> None:
    async def delete(channel: AbstractChannel) -> None:
        await channel.queue_delete(queue, timeout=_DELETE_SECONDS)

    await work.on_channel(f"deleting {queue}, which has no leader", delete)


async def _declare(work: Operation, wanted: Topology, address: Address) -> None:
    try:
        await work.on_channel(f"declaring the topology at {address}", lambda channel: declare(channel, wanted))
    except BusUnavailable as error:
        match error.__cause__:
            case ChannelPreconditionFailed():
                raise BusUnavailable(
                    f"{error}. It exists otherwise and can't be changed: `penstock topology check` says how to make it anew"
                ) from error
            case ChannelAccessRefused():
                raise BusUnavailable(f"{error}. {_permission(address)}") from error
            case _:
                raise


def _permission(address: Address) -> str:
    return (
        f"`penstock topology` is for a user who may configure, write and read all that is called penstock.*: "
        f"rabbitmqctl set_permissions --vhost {address.virtual_host} {address.user} '^penstock\\..*' '^penstock\\..*' '^penstock\\..*'"
    )


async def _exists(work: Operation, queue: str) -> bool:
    async def look(channel: AbstractChannel) -> None:
        await channel.queue_declare(queue, passive=True, timeout=DECLARE_SECONDS)

    try:
        await work.on_channel(f"looking at {queue}", look)
    except BusUnavailable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            return False
        raise
    return True


async def _lock(work: Operation, address: Address, seconds: float, on_wait: Callable[[str], None]) -> None:
    async def take(channel: AbstractChannel) -> None:
        await channel.queue_declare(REPAIR_LOCK, exclusive=True, timeout=DECLARE_SECONDS)

    deadline = time.monotonic() + seconds
    while True:
        try:
            return await work.on_channel(f"taking the lock {REPAIR_LOCK}", take)
        except BusUnavailable as error:
            if isinstance(error.__cause__, ChannelAccessRefused):
                raise BusUnavailable(f"{error}. {_permission(address)}") from error
            if not isinstance(error.__cause__, ChannelLockedResource) or time.monotonic() > deadline:
                raise
        on_wait("another `penstock topology apply`")
        await asyncio.sleep(_PAUSE_SECONDS)
