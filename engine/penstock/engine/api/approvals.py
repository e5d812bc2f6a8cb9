"""Approvals over HTTP: what waits for people, and what they decide."""

from fastapi import APIRouter

router = APIRouter(tags=["approvals"])
