"""What a runner tells of an attempt: its outcome with secrets masked, and its log."""

import asyncio
import secrets
import shutil
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.messages import Completed, Order, clean_text
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.failures import failure
from penstock.runners.log_file import LogFile, log_path
from penstock.runners.masking import masked
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.directories import file_digest

_log = structlog.get_logger(__name__)
_TRACEBACK_BYTES = 4096
_SMALL_LOG_BYTES = 64 * 1024
_SAID = ("metrics", "tags", "emitted", "attachments")


async def completion(
    order: Order, plain: dict[str, Any], log: LogFile, hidden: list[str], artifacts: ArtifactStore, scratch: Path
) -> Completed:
    """`plain` as a `Completed` without what is `hidden`. `log` is closed.

    `scratch` names a folder from which the artifact store can take files, there or not.
    """
    told = dict(plain)
    if (why := told.get("failure")) is not None:
        # A program, and a process that was killed, have told the user in their output only.
        why = {**why, "traceback": why.get("traceback") or log.end(_TRACEBACK_BYTES)}
        told["failure"] = {name: clean_text(masked(text, hidden)) for name, text in why.items()}
    told |= {name: masked(told[name], hidden) for name in _SAID if name in told}
    stored = None if log.is_empty else await _stored(log.path, artifacts, scratch)
    base = {"attempt": order.attempt, "token": order.token, "runner": "", "log": stored}
    try:
        return Completed.model_validate({**told, **base})
    except ValidationError as error:
        reason = failure(FailureKind.ERROR, f"the guest told something that is no outcome: {error.errors()[0]['msg']}")
        return Completed.model_validate({**base, "outcome": AttemptState.FAILED, "failure": reason})


class KeptLogs:
    """The logs of attempts that were cancelled: `state` is the launchers' folder. Whoever stopped a step may want to see what it did."""

    def __init__(self, artifacts: ArtifactStore, state: Path) -> None:
        self._artifacts = artifacts
        self._state = state

    async def of(self, order: Order, step: str) -> ArtifactRef | None:
        """What the attempt had printed, if anything. Nothing of it runs any more."""
        path = log_path(self._state, order.run_id, step, order.index, order.attempt.attempt_no)
        if not await asyncio.to_thread(path.is_file):
            return None
        scratch = self._artifacts.staging / f"log-{secrets.token_hex(8)}"
        try:
            return await _stored(path, self._artifacts, scratch)
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


async def _stored(path: Path, artifacts: ArtifactStore, scratch: Path) -> ArtifactRef | None:
    try:
        return await _taken(path, artifacts, scratch)
    except (OSError, StoreUnavailable) as error:
        # The outcome counts for more than its log, which is still in its file.
        _log.warning("log.not_stored", path=str(path), reason=str(error))
        return None


async def _taken(path: Path, artifacts: ArtifactStore, scratch: Path) -> ArtifactRef:
    size = path.stat().st_size  # noqa: ASYNC240 - one system call
    if size <= _SMALL_LOG_BYTES:
        digest = await artifacts.write(path.read_bytes())  # noqa: ASYNC240 - a thread would take longer
    else:
        copy = scratch / "log"
        digest = await asyncio.to_thread(_copied, path, copy)
        await artifacts.take(copy, digest)
    return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=size, media_type="text/plain", suffix=".log")


def _copied(source: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return file_digest(target)
