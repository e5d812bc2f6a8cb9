"""Triggers over HTTP: declared, tried, paused, explained."""

from fastapi import APIRouter

router = APIRouter(tags=["triggers"])
