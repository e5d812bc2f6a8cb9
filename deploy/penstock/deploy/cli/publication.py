"""A pipeline file published: traced elsewhere, its triggers looked at, its code stored, then a version made of it."""

import json
from pathlib import Path
from typing import Any

import typer

from penstock.contracts.publishing import PublishRequest, VersionView
from penstock.contracts.spec import encode_spec
from penstock.contracts.triggers import TriggerSpec
from penstock.deploy.areas.publishing import Publishing
from penstock.deploy.cli.loaded_pipeline import stored_spec
from penstock.deploy.cli.trigger_check import check_triggers
from penstock.deploy.cli.wiring import api_of
from penstock.sdk.client import EngineClient, connect
from penstock.sdk.drawing.traced import Traced


def published(client: EngineClient, traced: Traced, **asked: Any) -> VersionView:
    """The version; `asked` are the fields of a request that are not the pipeline's own.

    :raises InvalidInput: a trigger can't work, or the version is another one.
    """
    triggers = checked_triggers(traced)
    plain = json.loads(encode_spec(stored_spec(traced, client)))
    return Publishing(api_of(client)).publish(PublishRequest(spec=plain, triggers=triggers, **asked))


def checked_triggers(traced: Traced) -> tuple[TriggerSpec, ...]:
    """The triggers of a trace.

    :raises InvalidInput: one can't work.
    """
    triggers = tuple(TriggerSpec.model_validate(plain) for plain in traced.triggers)
    check_triggers(triggers, traced.spec)
    return triggers


def published_here(home: Path, traces: list[Traced]) -> None:
    """Has the project's own engine keep these pipelines as their defaults, with triggers that are on."""
    client = connect("embedded", home=home)
    try:
        for traced in traces:
            view = published(client, traced, trigger_state="on")
            told = f"; triggers: {', '.join(view.triggers)}" if view.triggers else ""
            typer.echo(f"{view.name}@{view.version} is published{told}")
    finally:
        client.close()
