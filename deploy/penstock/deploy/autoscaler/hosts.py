"""Where runners are started: the port that the autoscaler works through. Adapters are in `hosts_*`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.contracts.errors import PenstockError
from penstock.contracts.pools import PoolSpec


class RunnerNotStarted(PenstockError):
    """The host can't start a runner: its image is missing, no GPU is free. The text says what to do."""


class HostUnavailable(PenstockError):
    """The host can't be reached; what it runs goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedRunner:
    """A runner that some incarnation of this autoscaler started."""

    name: str
    pool: str
    exit_code: int | None = None
    """None: it has not ended."""
    last_words: str = ""
    """The end of what it wrote, if it has ended."""


class RunnerHost(Protocol):
    """Whatever is started outlives this process: the next one finds it by `runners`.

    :raises HostUnavailable: from any of them.
    """

    async def runners(self) -> Sequence[HostedRunner]:
        """All that are there, ended ones too until they are removed."""
        ...

    async def start(self, pool: PoolSpec, name: str) -> None:
        """Starts a runner of that name for the pool.

        :raises RunnerNotStarted: it is not there then.
        """
        ...

    async def drain(self, name: str) -> None:
        """Asks it to end, soon: it takes no more orders and finishes what it began, however long that takes. May be asked again."""
        ...

    async def remove(self, name: str) -> None:
        """Forgets one that has ended."""
        ...

    async def close(self) -> None:
        """Ends no runner."""
        ...
