"""Makes queues anew that have lost their leader for ever, while the rest of the broker is well. Their orders are sent again."""

import asyncio
import random
from collections.abc import Callable, Sequence

import structlog

from penstock.contracts.errors import BusUnavailable
from penstock.transport.buses.rabbitmq.address import parse_address
from penstock.transport.buses.rabbitmq.leader import leaderless
from penstock.transport.buses.rabbitmq.topology import EXCHANGES, Topology, queue_topology
from penstock.transport.buses.rabbitmq.topology_apply import Patience, repair

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

LOOK_SECONDS = 30.0


class Mending:
    """Of the shared queues that `queues` names. One that answers nobody in two looks, while others answer, is made anew.

    Where none answers, the broker is overloaded or has no majority: nothing is touched then.
    """

    def __init__(
        self, url: str, queues: Callable[[], Sequence[str]], *, seconds: float = LOOK_SECONDS, patience: Patience | None = None
    ) -> None:
        self._address = parse_address(url)
        self._queues = queues
        self._seconds = seconds
        self._patience = patience or Patience()
        self._suspects: set[str] = set()

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            # Drawn, so that the coordinators of one broker don't look at the same moment.
            await asyncio.sleep(self._seconds * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
            try:
                await self.look()
            except BusUnavailable as error:
                log.warning("queues.not_mended", reason=str(error))

    async def look(self) -> list[str]:
        """What was made anew.

        :raises BusUnavailable: the broker can't be asked, or this user may not do it.
        """
        queues = self._queues()
        silent = set(await leaderless(self._address, queues, seconds=self._patience.leader_seconds))
        before, self._suspects = self._suspects, silent if len(silent) < len(queues) else set()
        wedged = sorted(before & self._suspects)
        if not wedged:
            return []
        mended = await repair(self._address, _topology(wedged), patience=self._patience)
        self._suspects = set()
        if mended:
            log.error("queues.made_anew", queues=mended)
        return mended


def _topology(queues: Sequence[str]) -> Topology:
    parts = [queue_topology(name) for name in queues]
    return Topology(
        exchanges=EXCHANGES,
        queues=tuple(queue for part in parts for queue in part.queues),
        bindings=tuple(binding for part in parts for binding in part.bindings),
    )
