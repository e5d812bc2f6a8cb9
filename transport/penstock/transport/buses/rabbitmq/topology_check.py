"""Looks whether all that must exist on the broker does, is as it must be and works. Changes nothing."""

import asyncio
from collections.abc import Sequence

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from penstock.contracts.errors import BusUnavailable
from penstock.transport.buses.rabbitmq.address import Address
from penstock.transport.buses.rabbitmq.finding import Finding, FindingKind, differences, missing, otherwise, wedged
from penstock.transport.buses.rabbitmq.leader import leaderless
from penstock.transport.buses.rabbitmq.management import Management
from penstock.transport.buses.rabbitmq.operation import Operation, operation
from penstock.transport.buses.rabbitmq.policies import POLICIES
from penstock.transport.buses.rabbitmq.topology import DECLARE_SECONDS, DeclaredQueue, QueueKind, Topology, declare

LEADER_SECONDS = 6.0
"""Within that time a broker that has just started elects the leaders of its queues, also on a busy machine."""


async def check(
    address: Address, wanted: Topology, *, management: Management | None, leader_seconds: float = LEADER_SECONDS
) -> list[Finding]:
    """:raises BusUnavailable: the broker can't be asked; the text says why and what to do."""
    async with operation(address, "penstock topology check") as work:
        existing, found = await _observed(work, wanted, address.virtual_host)
        if management is not None:
            found = differences(wanted, await management.observe(), address.virtual_host)
        else:
            found += unseen(address.virtual_host)
        quorum = [queue.name for queue in existing if queue.kind is QueueKind.QUORUM]
        known = {finding.subject for finding in found if finding.kind is FindingKind.LEADERLESS}
        lost = await leaderless(address, quorum, seconds=leader_seconds)
        return found + [wedged(queue) for queue in lost if f"queue {queue}" not in known]


def unseen(virtual_host: str) -> list[Finding]:
    """What AMQP can't tell."""
    remedy = "set PENSTOCK_BROKER_MANAGEMENT_URL, or make sure that an administrator has run: "
    policies = [
        Finding(FindingKind.UNCHECKED, f"policy {policy.name}", "AMQP can't see policies", remedy + policy.command(virtual_host))
        for policy in POLICIES
    ]
    bindings = Finding(FindingKind.UNCHECKED, "bindings", "AMQP can't see them", "set PENSTOCK_BROKER_MANAGEMENT_URL; apply declares them")
    return [bindings, *policies]


async def _observed(work: Operation, wanted: Topology, virtual_host: str) -> tuple[Sequence[DeclaredQueue], list[Finding]]:
    """The queues that exist as wanted, and what AMQP can tell of all."""
    exchanges = [
        _compared(work, f"exchange {exchange.name}", Topology(exchanges=(exchange,)), virtual_host) for exchange in wanted.exchanges
    ]
    queues = [_compared(work, f"queue {queue.name}", Topology(queues=(queue,)), virtual_host) for queue in wanted.queues]
    found = await asyncio.gather(*exchanges, *queues)
    of_queues = zip(wanted.queues, found[len(exchanges) :], strict=True)
    existing = [queue for queue, finding in of_queues if finding is None or not finding.is_fault]
    return existing, [finding for finding in found if finding is not None]


async def _compared(work: Operation, subject: str, wanted: Topology, virtual_host: str) -> Finding | None:
    async def look(channel: AbstractChannel) -> None:
        for exchange in wanted.exchanges:
            await channel.exchange_declare(exchange.name, passive=True, timeout=DECLARE_SECONDS)
        for queue in wanted.queues:
            await channel.queue_declare(queue.name, passive=True, timeout=DECLARE_SECONDS)
        # What exists is only compared by this.
        await declare(channel, wanted)

    try:
        await work.on_channel(f"looking at {subject}", look)
    except BusUnavailable as error:
        match error.__cause__:
            case ChannelNotFoundEntity():
                return missing(subject)
            case ChannelPreconditionFailed() as cause:
                return otherwise(subject, str(cause), virtual_host)
            case ChannelAccessRefused():
                return Finding(FindingKind.UNCHECKED, subject, "the user may not compare it", "give the user the permission `configure`")
            case _:
                raise
    return None
