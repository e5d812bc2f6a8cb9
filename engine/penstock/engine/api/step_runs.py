"""Step runs over HTTP: how they went and why, and what they printed."""

import asyncio
import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.errors import InvalidInput
from penstock.contracts.states import StepState
from penstock.contracts.views import AttemptView, StepRunView, Why
from penstock.engine.api.pages import Cursor, page, place_of
from penstock.engine.api.problems import NotFound
from penstock.engine.api.services import Services, Serving, answer, now
from penstock.engine.queries import BEFORE_ALL, Place, node_number, placed_step_runs, plan_of_run, step_run_views
from penstock.engine.waiting import Reasons
from penstock.engine.why import why

router = APIRouter(tags=["step runs"])

PIECE_BYTES = 256 * 1024
"""Of a log, in one answer."""
_LONGEST_WAIT = 30.0
_SEARCHED = 1_000_000
Index = Annotated[list[int] | None, Query(max_length=20, description="Once for each fan-out around it, outermost first.")]
Number = Annotated[int | None, Query(ge=1, le=2**31)]


class LogPiece(BaseModel):
    """A piece of an attempt's output, from `offset` bytes after its beginning on. Ask for `next` next, until `is_complete`."""

    attempt: int
    offset: int
    next: int
    text: str
    is_complete: bool


@router.get("/runs/{run}/steps", summary="Step runs with their attempts")
async def list_step_runs(
    run: str,
    services: Serving,
    step: str | None = None,
    limit: Annotated[int, Query(ge=1, le=_SEARCHED, description="So many at most.")] = 1000,
    cursor: Cursor = None,
) -> Response:
    """In order of step and index. `next` is the cursor of the following page, null on the last one."""
    place = place_of(cursor, int, int)
    after = (place[0], place[1]) if place is not None else BEFORE_ALL

    def function(connection: Connection) -> list[tuple[Place, StepRunView]]:
        return placed_step_runs(connection, services.row(connection, run), step, after, limit + 1, now())

    return page("step_runs", await services.read(function), limit)


@router.get("/runs/{run}/why", response_model=Why, summary="Why a step run went as it went")
async def explain(run: str, step: str, services: Serving, index: Index = None) -> Response:
    """Executed, taken from the cache, or skipped; and what differs from the run before."""

    def function(connection: Connection) -> Why:
        row = services.row(connection, run)
        told = why(connection, services.workspace, row[1], step, tuple(index or ()), now())
        if told.state is not StepState.READY:
            return told
        reasons = Reasons(connection, services.workspace, services.fleet.slots(services.workspace), now()).of_run(row[0])
        reason = reasons.get(node_number(plan_of_run(connection, row), step), "it is about to start")
        return told.model_copy(update={"verdict": f"ready: {reason}"})

    return answer(await services.read(function))


@router.get("/runs/{run}/logs", response_model=LogPiece, summary="What a step run printed, or prints")
async def show_log(
    run: str,
    step: str,
    services: Serving,
    index: Index = None,
    attempt: Number = None,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT)] = 0.0,
) -> Response:
    """Of an attempt (the last one), from `after` bytes on. While it runs, this waits up to `wait` seconds for more."""
    return answer(await log_piece(services, LogAddress(run, step, tuple(index or ()), attempt), after, wait))


@dataclass(frozen=True, slots=True)
class LogAddress:
    """Whose output: of the attempt with that number, or of the last one."""

    run: str
    step: str
    index: tuple[int, ...] = ()
    attempt: int | None = None


async def log_piece(services: Services, address: LogAddress, after: int, wait: float) -> LogPiece:
    """The output from `after` bytes on, once there is some or `wait` seconds are over."""
    place = (address.step, address.index)
    run_id, shown = await services.read(lambda connection: _attempt(services, connection, address.run, place, address.attempt))
    if shown.log is None and shown.ended_at is None:
        begin, data = await services.live_logs.after(run_id, (*place, shown.number), after, wait)
        text, taken = _decoded(data[:PIECE_BYTES], is_whole=False)
        return LogPiece(attempt=shown.number, offset=begin, next=begin + taken, text=text, is_complete=False)
    data, size = await _stored(services, shown.log, after) if shown.log is not None else (b"", 0)
    text, taken = _decoded(data, is_whole=after + len(data) >= size)
    end = min(after, size) + taken
    return LogPiece(attempt=shown.number, offset=min(after, size), next=end, text=text, is_complete=end >= size)


def _attempt(
    services: Services, connection: Connection, run: str, at: tuple[str, tuple[int, ...]], number: int | None
) -> tuple[str, AttemptView]:
    row = services.row(connection, run)
    step, index = at
    view = next((view for view in step_run_views(connection, row, step, _SEARCHED, now()) if view.index == index), None)
    address = "/".join([step, *map(str, index)])
    if view is None:
        raise NotFound(f"the run {row[3]} has no step run {address} (yet)")
    chosen = [one for one in view.attempts if number in (None, one.number)]
    if not chosen:
        known = ", ".join(str(one.number) for one in view.attempts) or "none"
        raise NotFound(f"{address} has no attempt {'yet' if number is None else number} (there are: {known})")
    return row[1], chosen[-1]


async def _stored(services: Services, log: ArtifactRef, after: int) -> tuple[bytes, int]:
    """A piece of a stored log, and the size of all of it."""
    if log.is_inline:
        raise InvalidInput("a log can't be inline")
    return await asyncio.to_thread(_piece, await services.artifacts.local(log.digest), after)


def _piece(path: Path, after: int) -> tuple[bytes, int]:
    with path.open("rb") as file:
        file.seek(after)
        return file.read(PIECE_BYTES), path.stat().st_size


def _decoded(data: bytes, *, is_whole: bool) -> tuple[str, int]:
    """As text, and how many bytes that is: a character that is cut in two is left for the next piece."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, is_whole)
    return text, len(data) - len(decoder.getstate()[0])
