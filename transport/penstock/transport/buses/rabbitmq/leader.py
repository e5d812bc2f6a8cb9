"""Whether a quorum queue has a leader.

The management API and `rabbitmqctl` name a leader even for a queue that has none for ever, because they repeat what was written down
when the queue was declared. Only a request that the leader must answer tells: a get.
"""

import asyncio
import time
from collections.abc import Sequence

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused
from pamqp.commands import Basic

from penstock.contracts.errors import BusUnavailable
from penstock.transport.buses.rabbitmq.address import Address
from penstock.transport.buses.rabbitmq.operation import Operation, operation

_ANSWER_SECONDS = 3.0
_PAUSE_SECONDS = 0.1


async def leaderless(address: Address, queues: Sequence[str], *, seconds: float) -> list[str]:
    """Those of the quorum queues, all of which exist, that have no leader within that time.

    :raises BusUnavailable: the broker can't be asked.
    """
    deadline = time.monotonic() + seconds
    remaining: list[str] = list(queues)
    while remaining and (left := deadline - time.monotonic()) > 0:
        # A connection of its own: the broker closes the one that asks while the queue is deleted.
        async with operation(address, "penstock asks for leaders") as work:
            answers = await asyncio.gather(*(_answers(work, queue, min(left, _ANSWER_SECONDS)) for queue in remaining))
        remaining = [queue for queue, has_answered in zip(remaining, answers, strict=True) if not has_answered]
        if remaining:
            await asyncio.sleep(_PAUSE_SECONDS)
    return remaining


async def _answers(work: Operation, queue: str, seconds: float) -> bool:
    """A queue that shows messages or consumers had a leader since the broker's start, and is left alone: a message that is taken and given
    back counts as delivered once more, and the delivery limit would end it after so many checks.
    """

    async def ask(channel: AbstractChannel) -> None:
        state = await channel.queue_declare(queue, passive=True, timeout=seconds)
        if state.message_count or state.consumer_count:
            return
        taken = await channel.basic_get(queue, no_ack=False, timeout=seconds)
        if isinstance(taken.delivery, Basic.GetOk) and taken.delivery.delivery_tag is not None:
            # It came between both requests; whoever gets it next sees that it was delivered before.
            await channel.basic_reject(taken.delivery.delivery_tag, requeue=True)

    try:
        await work.on_channel(f"asking {queue} for its leader", ask)
    except BusUnavailable as error:
        if isinstance(error.__cause__, ChannelAccessRefused):
            raise
        return False  # no answer in time, or somebody makes it anew at this moment
    return True
