"""Published pipelines over HTTP: versions, aliases, and runs of them."""

from fastapi import APIRouter

router = APIRouter(tags=["pipelines"])
