"""The cache over HTTP: what it holds, and forgetting entries."""

from fastapi import APIRouter
from pydantic import BaseModel

from penstock.contracts.views import CacheStats
from penstock.engine.api.services import Serving
from penstock.engine.housekeeping import cache_clear, cache_stats

router = APIRouter(tags=["cache"])


class Cleared(BaseModel):
    entries: int


@router.get("/cache", summary="What the cache holds and what it saved")
async def show_cache(services: Serving) -> CacheStats:
    return await services.read(lambda connection: cache_stats(connection, services.workspace))


@router.delete("/cache", summary="Forget entries")
async def clear_cache(services: Serving, pipeline: str | None = None, step: str | None = None) -> Cleared:
    """Of all, or of a pipeline or step. Artifacts stay until they are collected."""
    return Cleared(entries=await services.write(lambda connection: cache_clear(connection, services.workspace, pipeline, step)))
