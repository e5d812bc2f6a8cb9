"""What answers requests: an engine whose API can be asked, over the network or inside this process."""

from typing import Protocol, runtime_checkable

from penstock.deploy.remote.connection import Connection


@runtime_checkable
class Reachable(Protocol):
    """Both engine clients are."""

    @property
    def connection(self) -> Connection: ...
