"""Subscriptions to outgoing events over HTTP: to the bus, and to webhooks."""

from fastapi import APIRouter

router = APIRouter(tags=["subscriptions"])
