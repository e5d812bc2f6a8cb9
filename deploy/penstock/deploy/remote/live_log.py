"""Copies of logs that grow: what attempts of a remote run have printed so far, in files of this machine."""

from pathlib import Path
from typing import Any

from penstock.contracts.errors import InvalidInput, PenstockError
from penstock.contracts.views import AttemptView, StepRunView
from penstock.deploy.remote.connection import Connection

FOLLOWED = 8
"""Step runs whose live output is looked at together."""


class LiveLogCopies:
    """Below `folder`, one file an attempt."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._known: dict[Path, int] = {}
        """How many bytes of an attempt's output are known, by its copy."""

    def with_copies(self, path: str, run_id: str, views: list[StepRunView]) -> list[StepRunView]:
        """The views, their attempts that run with the file that holds their output so far."""
        running = [view for view in views if not view.state.is_terminal and view.attempts]
        if len(running) > FOLLOWED:
            return views
        return [self._with_copy(path, run_id, view) if view in running else view for view in views]

    def _with_copy(self, path: str, run_id: str, view: StepRunView) -> StepRunView:
        last = view.attempts[-1]
        if last.log is not None or last.ended_at is not None:
            return view
        copy = self._folder / run_id / view.step / (".".join(map(str, view.index)) or "-") / f"{last.number}.log"
        if not copy.resolve().is_relative_to(self._folder.resolve()):
            raise InvalidInput(f"the step {view.step!r} can't be a file's name here")
        try:
            self._fill(path, view, last, copy)
        except PenstockError:
            return view  # The log comes when the attempt has ended.
        return view.model_copy(update={"attempts": (*view.attempts[:-1], last.model_copy(update={"log_path": str(copy)}))})

    def _fill(self, path: str, view: StepRunView, attempt: AttemptView, copy: Path) -> None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        # What another process has copied may have gaps elsewhere.
        with copy.open("ab" if copy in self._known else "wb") as file:
            while True:
                known = self._known.setdefault(copy, 0)
                asked: dict[str, Any] = {"step": view.step, "index": list(view.index), "attempt": attempt.number, "after": known}
                piece = self._connection.get(f"{path}/logs", **asked).json()
                if not piece["text"]:
                    return
                if piece["offset"] > known:
                    file.write(f"\n… {piece['offset'] - known} bytes came before anybody followed …\n".encode())
                file.write(piece["text"].encode())
                self._known[copy] = piece["next"]
                if piece["is_complete"]:
                    return
