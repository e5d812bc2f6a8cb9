"""The guest's side of a checkpoint that outlives its machine: it packs what the step saves, and unpacks what an earlier attempt saved."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typing_extensions import override

from penstock.sdk.context import Checkpoint

Ask = Callable[[list[Any]], Any]
"""Sends a frame to the runner and gives its answer."""


class StoredCheckpoint(Checkpoint):
    """`folder` is the one that the runner sees, too."""

    def __init__(self, folder: Path, ask: Ask) -> None:
        super().__init__()
        self._shared = folder
        self._ask = ask
        self._numbers = itertools.count(1)

    @override
    def load(self) -> Path | None:
        import tarfile  # noqa: PLC0415 -- few steps have checkpoints, and every fork would bear it

        self._shared.mkdir(parents=True, exist_ok=True)
        match self._ask(["load checkpoint"]):
            case ["path", str(name)]:
                archive = self._shared / name
            case ["none"]:
                return None
            case ["failed", str(reason)]:
                raise OSError(f"the checkpoint can't be loaded: {reason}")
            case _:
                raise ConnectionError("the runner went away")
        # Where it was unpacked before it may be in use.
        target = self._shared / f"loaded-{next(self._numbers)}"
        with tarfile.open(archive) as packed:
            packed.extractall(target, filter="tar")
        archive.unlink()
        return next(target.iterdir(), None)

    @override
    def save(self, path: str | Path) -> None:
        import tarfile  # noqa: PLC0415 -- as above

        source = Path(path)
        self._shared.mkdir(parents=True, exist_ok=True)
        with tarfile.open(self._shared / "saved.tar", "w") as packed:
            packed.add(source, arcname=source.name or "saved")
        match self._ask(["save checkpoint"]):
            case ["saved"]:
                return
            case ["failed", str(reason)]:
                # A step that works must not end for that.
                sys.stderr.write(f"penstock: the checkpoint could not be stored, the one before stays: {reason}\n")
            case _:
                raise ConnectionError("the runner went away")
