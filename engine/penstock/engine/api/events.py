"""Events over HTTP: taken in, listed, replayed."""

from fastapi import APIRouter

router = APIRouter(tags=["events"])
