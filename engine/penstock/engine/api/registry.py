"""Named artifacts over HTTP: versions, and aliases that move."""

from fastapi import APIRouter

router = APIRouter(tags=["named artifacts"])
