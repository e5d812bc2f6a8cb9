"""The services about themselves: pools with their demand, runners that live, health."""

from fastapi import APIRouter
from pydantic import BaseModel

from penstock.contracts.fleet_views import RunnerView, StatusView
from penstock.contracts.views import Health
from penstock.engine.api.pools import pools_now
from penstock.engine.api.services import Serving
from penstock.engine.api.settings import software_version
from penstock.engine.demand import live_run_counts
from penstock.engine.migration import NEWEST, version_of

router = APIRouter(tags=["status"])


class Runners(BaseModel):
    runners: tuple[RunnerView, ...]


@router.get("/runners", summary="Runners that live")
async def list_runners(services: Serving) -> Runners:
    """As their heartbeats said that this process heard; after its start it takes a few seconds to hear of all."""
    return Runners(runners=services.fleet.runners(services.workspace))


@router.get("/status", summary="All at a glance")
async def show_status(services: Serving) -> StatusView:
    return StatusView(
        software=software_version(),
        runs=await services.read(lambda connection: live_run_counts(connection, services.workspace)),
        pools=await pools_now(services),
        runners=services.fleet.runners(services.workspace),
    )


@router.get("/health", summary="Whether the store answers, and in which version")
async def show_health(services: Serving) -> Health:
    found = await services.read(version_of)
    return Health(engine="http", schema_found=found or "none", schema_expected=NEWEST)
