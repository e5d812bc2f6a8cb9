"""Outputs on their way to the artifact store: what took hours to make is not thrown away because the store is away for minutes."""

import asyncio
from pathlib import Path

import structlog

from penstock.contracts.errors import StoreUnavailable
from penstock.transport.artifact_store import ArtifactStore

_log = structlog.get_logger(__name__)
PATIENCE_SECONDS = 3600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


async def keep(artifacts: ArtifactStore, path: Path, digest: str, *, first_pause: float = _FIRST_PAUSE) -> None:
    """Has the store take a file, as soon as it can.

    :raises StoreUnavailable: it could not for an hour.
    :raises OSError: this machine can't.
    """
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + PATIENCE_SECONDS, first_pause
    while True:
        try:
            await artifacts.take(path, digest)
        except StoreUnavailable as error:
            if loop.time() + pause > deadline:
                raise
            _log.warning("output.waits", reason=str(error), seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return
