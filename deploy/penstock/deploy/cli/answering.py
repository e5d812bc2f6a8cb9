"""Where approvals are answered: in the rows of this project's engine, which takes nothing that a run would not take, or at services."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import typer

from penstock.contracts.approvals import ApprovalView, DecisionRequest
from penstock.contracts.errors import InvalidInput
from penstock.deploy.cli.wiring import engine, services
from penstock.deploy.settings import Settings
from penstock.sdk.client import EngineClient


class Answers(Protocol):
    """What is asked, and answers to it."""

    def list(self, run: str | None = None, *, only_open: bool = True) -> list[ApprovalView]: ...
    def find(self, run: str, step: str | None = None, index: tuple[int, ...] = ()) -> ApprovalView: ...
    def decide(self, view: ApprovalView, request: DecisionRequest) -> ApprovalView: ...


@runtime_checkable
class AnswersItself(Protocol):
    """An engine in this process."""

    @property
    def approvals(self) -> Answers: ...


@contextmanager
def answers(context: typer.Context) -> Generator[tuple[EngineClient, Answers]]:
    """The approvals of the services, where somebody says where they are, else those of the project's own engine.

    :raises InvalidInput: the engine has none.
    """
    chosen = services if Settings.read().names_services else engine
    with chosen(context) as client:
        yield client, _answers_of(client)


def _answers_of(client: EngineClient) -> Answers:
    if isinstance(client, AnswersItself):
        return client.approvals
    from penstock.deploy.areas.approvals import Approvals  # noqa: PLC0415 -- an engine in this process needs no requests
    from penstock.deploy.areas.reachable import Reachable  # noqa: PLC0415 -- as above

    if not isinstance(client, Reachable):
        raise InvalidInput("this engine has no approvals")
    return Approvals(client.connection)
