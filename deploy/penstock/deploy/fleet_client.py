"""What can be asked of an engine about its pools and runners, beside what every engine client answers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from penstock.contracts.fleet_views import AppliedPool, PoolView, RunnerView, StatusView
from penstock.contracts.pools import PoolSpec


@runtime_checkable
class FleetClient(Protocol):
    """Looks only."""

    def pools(self) -> Sequence[PoolView]:
        """Pools and lanes, with what waits for them and why."""
        ...

    def runners(self) -> Sequence[RunnerView]:
        """Runners that live."""
        ...

    def status(self) -> StatusView:
        """All at a glance."""
        ...


@runtime_checkable
class PoolOperator(FleetClient, Protocol):
    """Changes definitions.

    :raises InvalidInput: from each: there is no such pool, or its definition can't be so.
    """

    def pool(self, name: str) -> PoolView: ...

    def apply_pool(self, spec: PoolSpec) -> AppliedPool: ...

    def drain_pool(self, name: str, *, is_draining: bool) -> PoolSpec: ...

    def scale_pool(self, name: str, *, least: int | None, most: int | None) -> PoolSpec: ...

    def remove_pool(self, name: str) -> None: ...
