"""Approvals of an embedded engine, read and answered in its rows: whatever process drives the run finds the answer there."""

import getpass
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from penstock.contracts.approvals import ApprovalView, DecisionRequest
from penstock.deploy.embedded.engine import EmbeddedEngine, now
from penstock.engine.people.approvals import approval, approvals, decide

T = TypeVar("T")


class LocalApprovals:
    """What is asked, and answers to it."""

    def __init__(self, engine: EmbeddedEngine, workspace: str) -> None:
        self._engine = engine
        self._workspace = workspace

    def list(self, run: str | None = None, *, only_open: bool = True) -> list[ApprovalView]:
        """Of that run, or of all: what waits, oldest first; or all, newest first."""
        return self._read(lambda connection: approvals(connection, self._workspace, run=run, only_open=only_open))

    def find(self, run: str, step: str | None = None, index: tuple[int, ...] = ()) -> ApprovalView:
        """The one that is meant; `last` is the last run that waits for one.

        :raises InvalidInput: there is none, or several are open.
        """
        return self._read(lambda connection: approval(connection, self._workspace, run, step, index))

    def decide(self, view: ApprovalView, request: DecisionRequest) -> ApprovalView:
        """Answers as the user of this process.

        :raises InvalidInput: it has another answer, or is open no longer.
        """
        by = getpass.getuser()
        store = self._engine.store
        return self._engine.call(store.transaction(lambda connection: decide(connection, self._workspace, view, request, by=by, now=now())))

    def _read(self, function: Callable[[Connection], T]) -> T:
        return self._engine.call(self._engine.store.read(function))
