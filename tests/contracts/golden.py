"""The golden files and JSON Schemas of the contracts: where they are, and how they come to be."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgpack
from pydantic import TypeAdapter

from penstock.contracts.artifacts import Value
from penstock.contracts.events import Event, encode_event
from penstock.contracts.messages import Message, encode
from penstock.contracts.pool_file import PoolFile
from penstock.contracts.spec import ParameterSpec, PipelineSpec, encode_spec
from penstock.contracts.triggers import TriggerSpec
from tests.contracts.examples import EVENTS, MESSAGES, PEOPLE_PIPELINE, PIPELINE, SOFTWARE_PIPELINE

CONTRACTS = Path(__file__).parents[2] / "contracts"
FIXTURES = CONTRACTS / "fixtures"
SCHEMAS = CONTRACTS / "schemas"

SCHEMA_OF: dict[str, TypeAdapter[Any]] = {
    "pipeline": TypeAdapter(PipelineSpec),
    "parameter": TypeAdapter(ParameterSpec),
    "value": TypeAdapter(Value),
    "message": TypeAdapter(Message),
    "event": TypeAdapter(Event),
    "pools": TypeAdapter(PoolFile),
    "trigger": TypeAdapter(TriggerSpec),
}


def readable(message: Message) -> str:
    """What a message says on the wire, for people who look at a golden file."""
    payload = msgpack.unpackb(msgpack.unpackb(encode(message))[1])
    return json.dumps(payload, indent=2, sort_keys=True, default=bytes.decode) + "\n"


def schema_text(name: str) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMA_OF[name].json_schema()}
    return json.dumps(_without_strict_unions(schema), indent=2, sort_keys=True) + "\n"


def _without_strict_unions(schema: Any) -> Any:
    """Shapes told apart by a key that each must have: `oneOf` would refuse one that another shape, ignoring fields, fits as well."""
    if isinstance(schema, list):
        return [_without_strict_unions(item) for item in cast("Sequence[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    fields = cast("dict[str, Any]", schema)
    renamed = {("anyOf" if key == "oneOf" and "discriminator" not in fields else key): item for key, item in fields.items()}
    return {key: _without_strict_unions(item) for key, item in renamed.items()}


def golden_files() -> dict[Path, bytes]:
    """Every golden file with the bytes that it should hold."""
    files = {FIXTURES / "pipeline.v1.json": encode_spec(PIPELINE)}
    files |= {FIXTURES / "pipeline-people.v1.json": encode_spec(PEOPLE_PIPELINE)}
    files |= {FIXTURES / "pipeline-software.v1.json": encode_spec(SOFTWARE_PIPELINE)}
    files |= {FIXTURES / f"{name}.json": encode_event(event) for name, event in EVENTS.items()}
    files |= {FIXTURES / f"{name}.msgpack": encode(message) for name, message in MESSAGES.items()}
    files |= {FIXTURES / f"{name}.json": readable(message).encode() for name, message in MESSAGES.items()}
    return files
