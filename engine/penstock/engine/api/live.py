"""What changes while somebody looks: a run's timeline and its logs as server-sent events, and its metrics.

A stream says in each event's id where it is; who lost it goes on there with the header `Last-Event-ID`, as browsers do by themselves.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy import Connection

from penstock.contracts.states import RunState
from penstock.contracts.views import MetricView, Moment
from penstock.engine.api.pages import PAGE, Cursor, Limit, page, place_of
from penstock.engine.api.services import Services, Serving, answer_all, now
from penstock.engine.api.step_runs import Index, LogAddress, LogPiece, Number, log_piece
from penstock.engine.run_lists import metrics_of, moments_after

router = APIRouter(tags=["live"])

_LOOK_SECONDS = 0.25
"""Between two looks at rows that may change."""
_KEEPALIVE_SECONDS = 15.0
"""Proxies end what is silent for longer than some ten seconds more."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_AT_ONCE = 1000
_RUN_STATE = 7
EventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=20, pattern=r"^[0-9]{0,19}$")]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.get("/runs/{run}/timeline", summary="What happened in a run, in order")
async def show_timeline(run: str, services: Serving, limit: Limit = PAGE, cursor: Cursor = None) -> Response:
    """Gap-free, in the order in which it was committed. `next` is the cursor of the following page, null on the last one."""
    place = place_of(cursor, int)

    def function(connection: Connection) -> list[tuple[tuple[int], Moment]]:
        return moments_after(connection, services.row(connection, run), place[0] if place is not None else 0, limit + 1)

    return page("moments", await services.read(function), limit)


@router.get("/runs/{run}/timeline/stream", response_class=StreamingResponse, responses=_STREAM, summary="A run's timeline, live")
async def stream_timeline(run: str, services: Serving, last_event_id: EventId = None) -> StreamingResponse:
    """An event for each entry, named after its type; `end` with the run's state is the last one."""
    run_id = await services.read(lambda connection: str(services.row(connection, run)[1]))
    return _streamed(_moments(services, run_id, int(last_event_id or 0)))


@router.get("/runs/{run}/logs/stream", response_class=StreamingResponse, responses=_STREAM, summary="What a step run prints, live")
async def stream_log(
    run: str, step: str, services: Serving, index: Index = None, attempt: Number = None, last_event_id: EventId = None
) -> StreamingResponse:
    """Events `log` of text; `end` is the last one. An id is the number of bytes so far."""
    run_id = await services.read(lambda connection: str(services.row(connection, run)[1]))
    after = min(int(last_event_id or 0), 2**62)
    first = await log_piece(services, LogAddress(run_id, step, tuple(index or ()), attempt), after, 0.0)
    # The attempt that was found is followed to its end, whatever comes after it.
    return _streamed(_pieces(services, LogAddress(run_id, step, tuple(index or ()), first.attempt), first))


@router.get("/runs/{run}/metrics", summary="What the steps of a run logged")
async def show_metrics(
    run: str, services: Serving, step: str | None = None, name: Annotated[str | None, Query(max_length=255)] = None
) -> Response:
    """Of hits, what the step runs logged that made their outputs."""

    def function(connection: Connection) -> list[MetricView]:
        return metrics_of(connection, services.row(connection, run), step, name, now())

    return answer_all("metrics", await services.read(function))


def _streamed(events: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)


async def _moments(services: Services, run: str, after: int) -> AsyncIterator[bytes]:
    silent = 0.0
    while True:

        def function(connection: Connection, after: int = after) -> tuple[list[tuple[tuple[int], Moment]], RunState]:
            row = services.row(connection, run)
            return moments_after(connection, row, after, _AT_ONCE), RunState(row[_RUN_STATE])

        found, state = await services.read(function)
        for (seq,), moment in found:
            yield format_sse_event(event=moment.type, id=str(seq), data_str=moment.model_dump_json())
            after, silent = seq, 0.0
        if found:
            continue
        if state.is_terminal:
            yield format_sse_event(event="end", data_str=state.value)
            return
        await asyncio.sleep(_LOOK_SECONDS)
        silent += _LOOK_SECONDS
        if silent >= _KEEPALIVE_SECONDS:
            silent = 0.0
            yield KEEPALIVE_COMMENT


async def _pieces(services: Services, address: LogAddress, piece: LogPiece) -> AsyncIterator[bytes]:
    while True:
        if piece.text:
            yield format_sse_event(event="log", id=str(piece.next), data_str=piece.text)
        else:
            yield KEEPALIVE_COMMENT
        if piece.is_complete:
            yield format_sse_event(event="end", data_str=str(piece.attempt))
            return
        if not piece.text:
            await asyncio.sleep(_LOOK_SECONDS)
        piece = await log_piece(services, address, piece.next, _KEEPALIVE_SECONDS)
