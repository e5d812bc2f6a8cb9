"""The services about themselves: pools with their demand, runners that live, health."""

from fastapi import APIRouter
from pydantic import BaseModel

from penstock.contracts.fleet_views import PoolView, RunnerView, StatusView
from penstock.contracts.views import Health
from penstock.engine.api.services import Services, Serving, now
from penstock.engine.api.settings import software_version
from penstock.engine.demand import live_run_counts, pool_views
from penstock.engine.migration import NEWEST, version_of

router = APIRouter(tags=["status"])


class Pools(BaseModel):
    pools: tuple[PoolView, ...]


class Runners(BaseModel):
    runners: tuple[RunnerView, ...]


@router.get("/pools", summary="Pools and lanes: slots, demand, what waits")
async def list_pools(services: Serving) -> Pools:
    return Pools(pools=await _pools(services))


@router.get("/runners", summary="Runners that live")
async def list_runners(services: Serving) -> Runners:
    """As their heartbeats said that this process heard; after its start it takes a few seconds to hear of all."""
    return Runners(runners=services.fleet.runners())


@router.get("/status", summary="All at a glance")
async def show_status(services: Serving) -> StatusView:
    return StatusView(
        software=software_version(),
        runs=await services.read(lambda connection: live_run_counts(connection, services.workspace)),
        pools=await _pools(services),
        runners=services.fleet.runners(),
    )


@router.get("/health", summary="Whether the store answers, and in which version")
async def show_health(services: Serving) -> Health:
    found = await services.read(version_of)
    return Health(engine="http", schema_found=found or "none", schema_expected=NEWEST)


async def _pools(services: Services) -> tuple[PoolView, ...]:
    slots = services.fleet.slots()
    return await services.read(lambda connection: pool_views(connection, services.workspace, slots, now()))
