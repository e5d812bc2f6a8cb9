"""The checkpoint of one attempt: what its guest saves goes to the store that all runners share, and what an earlier attempt saved comes
from there.

The guest packs and unpacks; the runner moves one plain file, in or out of a folder that both see, and trusts nothing in it.
"""

import asyncio
import contextlib
import hashlib
import json
import secrets
import shutil
import stat
import time
from pathlib import Path

import structlog

from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.messages import Order
from penstock.contracts.spec import StepSpec
from penstock.transport.checkpoints import CheckpointStore

_log = structlog.get_logger(__name__)

SAVED, LOADED = "saved.tar", "loaded.tar"
_FOLDER = "checkpoint-"
_ABANDONED_SECONDS = 7 * 24 * 3600


def checkpoint_name(order: Order, step: StepSpec) -> str:
    """By what the step can observe: another run of the same code on the same inputs goes on where this one failed. A step that is not
    cached is its run's own, since several of them may be executed at once."""
    identity = [order.workspace, order.seed]
    if not step.cache:
        identity += [order.run_id, step.name, *map(str, order.index)]
    text = "/".join(identity) if step.cache else json.dumps(identity)
    return hashlib.sha256(text.encode()).hexdigest()


def new_folder(staging: Path) -> Path:
    """For one attempt, below a folder of the host. Its name is no other's: what a runner that was killed has left stays apart."""
    return staging / f"{_FOLDER}{secrets.token_hex(8)}"


def remove_abandoned(staging: Path) -> None:
    """What runners that were killed have left. No attempt goes for a week without saving or loading, or it can do without."""
    for folder in staging.glob(f"{_FOLDER}*"):
        with contextlib.suppress(OSError):
            if time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir())) > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


class AttemptCheckpoint:
    """`shared` is the folder that the guest sees; `private` another one on the same file system, that it doesn't see."""

    def __init__(self, store: CheckpointStore, order: Order, step: StepSpec, shared: Path, private: Path) -> None:
        self._store = store
        self._place = (order.workspace, checkpoint_name(order, step))
        # What an earlier attempt has saved is there though this one never asks.
        self._may_exist = order.attempt.attempt_no > 1
        self.shared = shared
        self._private = private

    async def save(self) -> None:
        """Keeps what the guest has packed.

        :raises StoreUnavailable, OSError: it is not kept; the one before is.
        """
        self._private.mkdir(parents=True, exist_ok=True)
        archive = self._private / SAVED
        # Moved out of the guest's reach before anything looks at it: it can't become a link to something else meanwhile.
        (self.shared / SAVED).replace(archive)
        try:
            if not stat.S_ISREG(archive.lstat().st_mode):
                raise PermissionError("what the guest saved is no plain file")
            self._may_exist = True
            await self._store.save(*self._place, archive)
        finally:
            if archive.is_dir() and not archive.is_symlink():
                await asyncio.to_thread(shutil.rmtree, archive, ignore_errors=True)
            else:
                archive.unlink(missing_ok=True)

    async def load(self) -> bool:
        """Lays what was saved last where the guest finds it; False: nothing was.

        :raises StoreUnavailable, OSError: it can't be said, or not be had.
        """
        self._private.mkdir(parents=True, exist_ok=True)
        archive = self._private / LOADED
        try:
            if not await self._store.load(*self._place, archive):
                return False
            self._may_exist = True
            archive.chmod(0o644)
            archive.replace(self.shared / LOADED)
        finally:
            archive.unlink(missing_ok=True)
        return True

    async def forget(self) -> None:
        """Once the step has succeeded: whoever asks for it to be executed again wants all of it."""
        if self._may_exist:
            try:
                await self._store.remove(*self._place)
            except (StoreUnavailable, OSError) as error:
                _log.warning("checkpoint.not_removed", name=self._place[1], reason=str(error))
