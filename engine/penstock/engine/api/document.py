"""The OpenAPI document of the API, complete: what bodies refer to, how one says who one is, and that refusals are problem documents."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from penstock.engine.api.services import BODY_PARTS

_TOKEN = {"token": {"type": "http", "scheme": "bearer", "description": "An API token, or the identity provider's token of a person"}}


def install(app: FastAPI) -> None:
    """Has the app show that document, which is made once."""

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _made(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI documents it


def _made(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, summary="Machine-learning pipelines that start by events", routes=app.routes)
    parts = made.setdefault("components", {})
    parts["schemas"] = {**BODY_PARTS, **parts.get("schemas", {})}
    parts["securitySchemes"] = _TOKEN
    made["security"] = [{"token": []}]
    for name in ("HTTPValidationError", "ValidationError"):
        # FastAPI's own form of a refusal, which no route answers with.
        parts["schemas"].pop(name, None)
    return made
