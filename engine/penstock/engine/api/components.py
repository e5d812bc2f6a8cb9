"""Published components over HTTP: steps and pipelines that others take into theirs."""

from fastapi import APIRouter

router = APIRouter(tags=["components"])
