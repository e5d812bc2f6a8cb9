"""What the autoscaler knows of pools and runners: demand and heartbeats, as the API tells them.

The API's token is all that it needs: neither the database nor the broker have to be reached from where runners are started.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel
from typing_extensions import override

from penstock.contracts.fleet_views import PoolView, RunnerView
from penstock.deploy.remote.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """By name."""

    pools: Mapping[str, PoolView] = field(default_factory=dict[str, PoolView])
    runners: Mapping[str, RunnerView] = field(default_factory=dict[str, RunnerView])


class FleetSource(Protocol):
    async def look(self) -> FleetView:
        """How it is now.

        :raises PenstockError: it can't be known now.
        """
        ...


class _Pools(BaseModel):
    pools: tuple[PoolView, ...]


class _Runners(BaseModel):
    runners: tuple[RunnerView, ...]


class ApiFleet(FleetSource):
    """Asks `GET /v1/pools` and `GET /v1/runners`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    async def look(self) -> FleetView:
        return await asyncio.to_thread(self._look)

    def _look(self) -> FleetView:
        pools = _Pools.model_validate_json(self._connection.get("/pools").content).pools
        runners = _Runners.model_validate_json(self._connection.get("/runners").content).runners
        return FleetView(pools={pool.name: pool for pool in pools}, runners={runner.name: runner for runner in runners})
