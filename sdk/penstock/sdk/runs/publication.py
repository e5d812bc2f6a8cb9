"""From a pipeline or a step to a published version: store what it is made of, then publish it."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from penstock.contracts.errors import InvalidInput
from penstock.contracts.publishing import PublishComponentRequest, PublishRequest, VersionView
from penstock.contracts.spec import PipelineSpec, encode_spec
from penstock.contracts.triggers import TriggerSpec
from penstock.sdk.client import EngineClient, Publishing
from penstock.sdk.context import importing_in_guest
from penstock.sdk.drawing.drawing import Drawing, current_drawing
from penstock.sdk.drawing.traced import Traced
from penstock.sdk.drawing.tracing import traced
from penstock.sdk.environments.software import with_software
from penstock.sdk.runs.state_home import engine_of


def published(
    name: str,
    drawn: tuple[Drawing, PipelineSpec],
    function: Callable[..., Any],
    triggers: tuple[dict[str, Any], ...],
    asked: dict[str, Any],
) -> VersionView:
    """A pipeline's version, at the engine of its project. `asked` are the other fields of the request.

    :raises InvalidInput: it can't be published so.
    """
    client, spec = _stored(name, drawn, function, asked.pop("profile", None))
    specs = tuple(TriggerSpec.model_validate(plain) for plain in triggers)
    return _publishing(client).publish(PublishRequest.model_validate({"spec": json.loads(encode_spec(spec)), "triggers": specs, **asked}))


def published_component(
    name: str, drawn: tuple[Drawing, PipelineSpec], function: Callable[..., Any], kind: Literal["step", "pipeline"], asked: dict[str, Any]
) -> VersionView:
    """A component's version, likewise."""
    client, spec = _stored(name, drawn, function, asked.pop("profile", None))
    plain = {"spec": json.loads(encode_spec(spec)), "kind": kind, **asked}
    return _publishing(client).publish_component(PublishComponentRequest.model_validate(plain))


def stored_spec(client: EngineClient, found: Traced) -> PipelineSpec:
    """The spec with all that it refers to in the engine's artifact store."""
    spec = with_software(found.spec, found.software, client)
    for staged in found.blobs.values():
        client.put_path(Path(staged))
    files = {inside: Path(path) for inside, path in found.files.items()}
    return spec.model_copy(update={"snapshot": client.put_snapshot(files)}) if files else spec


def _stored(
    name: str, drawn: tuple[Drawing, PipelineSpec], function: Callable[..., Any], profile: str | None
) -> tuple[EngineClient, PipelineSpec]:
    drawing, spec = drawn
    try:
        _refuse_nested(name)
        client = engine_of(Path(inspect.getsourcefile(function) or Path.cwd()), profile)
        return client, stored_spec(client, traced(drawing, spec, function))
    finally:
        drawing.constants.remove()


def _publishing(client: EngineClient) -> Publishing:
    if not isinstance(client, Publishing):
        raise InvalidInput("this engine keeps no published pipelines")
    return client


def _refuse_nested(name: str) -> None:
    if importing_in_guest():
        raise InvalidInput(
            f"{name}.publish(...) is called while its module is imported; a runner imports the module too. Put the call under\n"
            f'    if __name__ == "__main__":\n        {name}.publish(...)'
        )
    if current_drawing() is not None:
        raise InvalidInput(f"{name}.publish(...) is called in the body of a pipeline; call it outside")
