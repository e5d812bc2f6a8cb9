"""Whether a quorum queue has a leader.

The management API and `rabbitmqctl` name a leader even for a queue that has none for ever, because they repeat what was written down
when the queue was declared. Only a request that the leader must answer tells: a get.
"""

import asyncio
from collections.abc import Sequence

from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from penstock.transport.buses.rabbitmq.operation import Operation

ANSWER_SECONDS = 3.0
_PAUSE_SECONDS = 0.1


async def leaderless(work: Operation, queues: Sequence[str], *, seconds: float) -> list[str]:
    """Those of the quorum queues, all of which exist, that have no leader within that time."""
    found = await asyncio.gather(*(_has_leader_within(work, queue, seconds) for queue in queues))
    return [queue for queue, has_leader in zip(queues, found, strict=True) if not has_leader]


async def _has_leader_within(work: Operation, queue: str, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            while not await has_leader(work, queue):  # noqa: ASYNC110 - the broker tells nobody that a leader was elected
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError:
        return False
    return True


async def has_leader(work: Operation, queue: str) -> bool:
    """A queue that shows messages or consumers had a leader since the broker's start, and is left alone: a message that is taken and given
    back counts as delivered once more, and the delivery limit would end it after so many checks.
    """

    async def ask(channel: AbstractChannel) -> bool:
        state = await channel.queue_declare(queue, passive=True, timeout=ANSWER_SECONDS)
        if state.message_count or state.consumer_count:
            return True
        try:
            taken = await channel.basic_get(queue, no_ack=False, timeout=ANSWER_SECONDS)
        except TimeoutError:
            return False
        if isinstance(taken.delivery, Basic.GetOk) and taken.delivery.delivery_tag is not None:
            # It came between both requests; whoever gets it next sees that it was delivered before.
            await channel.basic_reject(taken.delivery.delivery_tag, requeue=True)
        return True

    return await work.on_channel(f"asking {queue} for its leader", ask)
