"""Approvals, as an engine's API answers about them."""

from urllib.parse import quote

from pydantic import TypeAdapter

from penstock.contracts.approvals import ApprovalView, DecisionRequest
from penstock.deploy.remote.connection import Connection

_views = TypeAdapter(list[ApprovalView])


class Approvals:
    """What is asked, and answers to it.

    :raises InvalidInput: from each: there is no such run or approval, or it is not for whoever asks.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, run: str | None = None, *, only_open: bool = True) -> list[ApprovalView]:
        """Of that run, or of all: what waits, oldest first; or all, newest first."""
        answer = self._connection.get("/approvals", run=run, state="open" if only_open else "all", limit=1000)
        return _views.validate_python(answer.json()["approvals"])

    def find(self, run: str, step: str | None = None, index: tuple[int, ...] = ()) -> ApprovalView:
        """The one that is meant; `last` is the last run that waits for one."""
        return ApprovalView.model_validate_json(self._connection.get(_path(run), step=step, index=list(index) or None).content)

    def decide(self, view: ApprovalView, request: DecisionRequest) -> ApprovalView:
        """Answers as whoever the token is of; the same answer again changes nothing."""
        parameters = {"step": view.step, "index": list(view.index) or None}
        answer = self._connection.ask("POST", _path(view.run_id), json=request.model_dump(mode="json"), parameters=parameters)
        return ApprovalView.model_validate_json(answer.content)


def _path(run: str) -> str:
    return f"/runs/{quote(run, safe='')}/approval"
