"""Checkpoints: what an unfinished step keeps for its next attempt, wherever that runs. Adapters are in `checkpoint_stores/`."""

import re
from pathlib import Path
from typing import Protocol

from penstock.contracts.errors import ContractError
from penstock.contracts.names import checked_name

_NAME = re.compile(r"[0-9a-f]{64}")
_POINTER = re.compile(r"sha256:[0-9a-f]{64}")


class CheckpointStore(Protocol):
    """One archive a name. Promised: it is found whole, as it was saved, or not at all; whoever dies while saving leaves the one before.
    Not promised: which one stays of two that are saved at once.

    The archives are not artifacts: nothing refers to them, and they are removed when their step has succeeded.
    """

    async def save(self, workspace: str, name: str, archive: Path) -> None:
        """Keeps the file in place of the one before. The file may be gone afterwards.

        :raises StoreUnavailable: it is not kept; the one before is.
        :raises OSError: the file can't be read.
        """
        ...

    async def load(self, workspace: str, name: str, target: Path) -> bool:
        """Writes what was saved last to the new file `target`; False: there is nothing.

        :raises StoreUnavailable: nothing can be said of it now.
        :raises OSError: the file can't be written.
        """
        ...

    async def remove(self, workspace: str, name: str) -> None:
        """Forgets it, if it is there.

        :raises StoreUnavailable: it may still be there.
        """
        ...


def checkpoint_path(workspace: str, name: str) -> str:
    """`checkpoints/<workspace>/<name>`, of which no part leads elsewhere.

    :raises ContractError: no workspace, or no name of a checkpoint.
    """
    if not _NAME.fullmatch(name):
        raise ContractError(f"{name[:80]!r} names no checkpoint; such a name has 64 hexadecimal digits")
    return f"checkpoints/{checked_name(workspace, 'workspace')}/{name}"


def pointed_at(data: bytes) -> str | None:
    """The digest in the small object that names the current archive; None where it holds none."""
    text = data.decode(errors="replace").strip()
    return text if _POINTER.fullmatch(text) else None
