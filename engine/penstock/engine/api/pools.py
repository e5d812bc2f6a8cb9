"""Pools over HTTP: defined, seen, drained and scaled."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from penstock.contracts.errors import InvalidInput
from penstock.contracts.fleet_views import AppliedPool, PoolView
from penstock.contracts.numbers import Count
from penstock.contracts.pools import PoolSpec, checked_pool_name
from penstock.engine.api.problems import NotFound
from penstock.engine.api.services import Services, Serving, answer, body_of, now, read_body
from penstock.engine.demand import pool_views
from penstock.engine.pools import apply_pool, drain_pool, remove_pool, scale_pool

router = APIRouter(tags=["pools"])


class Pools(BaseModel):
    pools: tuple[PoolView, ...]


class DrainRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    is_draining: bool = True


class ScaleRequest(BaseModel):
    """None leaves a bound as it is."""

    model_config = ConfigDict(extra="forbid")

    min_runners: Annotated[Count, Field(le=1_000_000)] | None = None
    max_runners: Annotated[Count, Field(le=1_000_000)] | None = None


async def pools_now(services: Services) -> tuple[PoolView, ...]:
    """Every pool and lane."""
    slots = services.fleet.slots(services.workspace)
    return await services.read(lambda connection: pool_views(connection, services.workspace, slots, now()))


@router.get("/pools", summary="Pools and lanes: slots, demand, what waits and why")
async def list_pools(services: Serving) -> Pools:
    return Pools(pools=await pools_now(services))


@router.get("/pools/{name}", response_model=PoolView, summary="A pool")
async def show_pool(name: str, services: Serving) -> Response:
    found = next((view for view in await pools_now(services) if view.name == name), None)
    if found is None:
        raise NotFound(f"there is no pool {name[:80]!r}: nobody has defined it, and no runner serves it")
    return answer(found)


@router.put("/pools/{name}", response_model=AppliedPool, openapi_extra=body_of(PoolSpec), summary="Define a pool")
async def define_pool(name: str, request: Request, services: Serving) -> Response:
    """Whether it drains stays as it is. What is ready takes as many slots as the new definition says."""
    spec = await read_body(request, PoolSpec)
    if spec.name != checked_pool_name(name):
        raise InvalidInput(f"the definition is of the pool {spec.name!r}, the address of {name!r}")
    await services.write(lambda connection: apply_pool(connection, services.workspace, spec, now()))
    return answer(AppliedPool(definition=spec, advice=await services.declare(services.workspace, spec.name)))


@router.delete("/pools/{name}", status_code=204, summary="Forget a definition")
async def forget_pool(name: str, services: Serving) -> Response:
    """Its runners and its queue stay."""
    await services.write(lambda connection: remove_pool(connection, services.workspace, name))
    return Response(status_code=204)


@router.post("/pools/{name}/drain", response_model=PoolSpec, openapi_extra=body_of(DrainRequest), summary="Dispatch nothing more to it")
async def drain(name: str, request: Request, services: Serving) -> Response:
    """What is being executed goes on; what is ready waits until it drains no more."""
    asked = await read_body(request, DrainRequest)
    return answer(
        await services.write(lambda connection: drain_pool(connection, services.workspace, name, now(), is_draining=asked.is_draining))
    )


@router.post("/pools/{name}/scale", response_model=PoolSpec, openapi_extra=body_of(ScaleRequest), summary="Bounds for an autoscaler")
async def scale(name: str, request: Request, services: Serving) -> Response:
    asked = await read_body(request, ScaleRequest)
    bounds = (asked.min_runners, asked.max_runners)
    return answer(await services.write(lambda connection: scale_pool(connection, services.workspace, name, now(), bounds)))
