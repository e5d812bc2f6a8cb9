"""What services answer about themselves: pools with their demand, runners that were heard, and the whole at a glance."""

from pydantic import BaseModel, ConfigDict

from penstock.contracts.messages import Service
from penstock.contracts.pools import PoolSpec


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class RunnerView(_View):
    """A runner that lives, as its last heartbeat said. `attempts`: how many it executes."""

    name: str
    incarnation: str = ""
    pools: dict[str, int] = {}
    """Slots by pool or lane."""
    services: tuple[Service, ...] = ()
    attempts: int = 0
    host: str = ""
    software: str = ""
    gpus: int = 0
    is_draining: bool = False
    heard_seconds_ago: float = 0.0


class PoolView(_View):
    """A pool, or the lane of a served step. `waiting` are ready step runs without a slot, `executing` attempts that are not closed."""

    name: str
    slots: int = 0
    runners: int = 0
    waiting: int = 0
    waiting_slots: int = 0
    """That those who wait would take."""
    executing: int = 0
    executing_slots: int = 0
    oldest_wait_seconds: float | None = None
    why: str = ""
    """Why the one whose turn it is does not start."""
    definition: PoolSpec | None = None
    """None where nobody has defined it."""

    @property
    def demand(self) -> int:
        """How many slots would be used now, if there were any number."""
        return self.waiting_slots + self.executing_slots


class AppliedPool(_View):
    """What came of a definition. `advice`: what is left to do, where its queue could not be declared."""

    definition: PoolSpec
    advice: str = ""


class StatusView(_View):
    """The services at a glance."""

    software: str
    runs: dict[str, int] = {}
    """Runs that have not ended, by state."""
    pools: tuple[PoolView, ...] = ()
    runners: tuple[RunnerView, ...] = ()
