"""Published components over HTTP: steps and pipelines that others take into theirs."""

from fastapi import APIRouter, Request, Response

from penstock.contracts.publishing import PublishComponentRequest, VersionView
from penstock.engine.api.published import PublishedName, add_routes, answer_version, changed, check_spec
from penstock.engine.api.services import Serving, body_of, now, read_body
from penstock.engine.published.publishing import publish_component

router = APIRouter(tags=["components"])


@router.post(
    "/components/{name}/versions",
    status_code=201,
    response_model=VersionView,
    openapi_extra=body_of(PublishComponentRequest),
    summary="Publish a version",
)
async def publish_version(name: PublishedName, request: Request, services: Serving) -> Response:
    """Versions never change: the same again is the same (200), another spec under a version is refused."""
    asked = await read_body(request, PublishComponentRequest)
    await check_spec(services, name, asked.spec)
    began = now()
    view = await changed(services, lambda c: publish_component(c, services.workspace, asked, services.principal.name, began))
    return answer_version(view, began)


add_routes(router, "component")
