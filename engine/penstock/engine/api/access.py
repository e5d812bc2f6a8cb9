"""Who may do what, over HTTP: tokens, members, workspaces, oneself."""

from fastapi import APIRouter

router = APIRouter(tags=["access"])
