"""The AsyncAPI document for upstream teams: whole in itself, and what it shows is what is taken in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from penstock.contracts.errors import ContractError
from penstock.engine.events.cloud_event_formats import EVENTS_AT_ONCE
from penstock.engine.events.received import received
from penstock.transport.buses.rabbitmq.topology import EXCHANGES
from tests.engine.events.test_received import Delivered

FILE = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
EXAMPLES = [(name, example) for name, message in MESSAGES.items() for example in message["examples"]]


def references(value: Any) -> Iterator[str]:
    match value:
        case {"$ref": str(reference)}:
            yield reference
        case {**parts}:
            for part in parts.values():
                yield from references(part)
        case [*items]:
            for item in items:
                yield from references(item)
        case _:
            return


def schema(part: Any) -> dict[str, Any]:
    """With what it refers to."""
    return {**part, "components": DOCUMENT["components"]}


def delivered(message: dict[str, Any], example: dict[str, Any]) -> Delivered:
    return Delivered(json.dumps(example["payload"]).encode(), message["contentType"], example.get("headers"), "sales.orders")


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_it_is_asyncapi_3_and_names_the_exchange_as_it_is_declared() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    (operation,) = DOCUMENT["operations"].values()
    assert (operation["action"], operation["channel"]) == ("receive", {"$ref": "#/channels/ingest"})
    exchange = DOCUMENT["channels"]["ingest"]["bindings"]["amqp"]["exchange"]
    assert (exchange["name"], exchange["type"], exchange["durable"]) in [(one.name, one.kind.value, True) for one in EXCHANGES]
    assert set(DOCUMENT["channels"]["ingest"]["messages"]) == set(MESSAGES)
    assert MESSAGES["cloudEventBatch"]["payload"]["maxItems"] == EVENTS_AT_ONCE


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[f"{name}-{example['name']}" for name, example in EXAMPLES])
def test_an_example_fits_its_schema_and_is_taken_in(name: str, example: dict[str, Any]) -> None:
    message = MESSAGES[name]
    jsonschema.validate(example["payload"], schema(message["payload"]), jsonschema.Draft7Validator)
    jsonschema.validate(example.get("headers", {}), schema(message.get("headers", {})), jsonschema.Draft7Validator)

    events = received(delivered(message, example), 0, "default")

    assert {one.workspace for one in events} == {"sales"}
    assert len(events) == (len(example["payload"]) if name == "cloudEventBatch" else 1)


@pytest.mark.parametrize("wrong", [{"id": ""}, {"specversion": "0.3"}, {"my-name": 1}, {"type": None}, {"subject": "x" * 1025}])
def test_the_schema_refuses_what_is_refused(wrong: dict[str, Any]) -> None:
    payload = {**MESSAGES["cloudEvent"]["examples"][0]["payload"], **wrong}

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(payload, schema({"$ref": "#/components/schemas/cloudEvent"}), jsonschema.Draft7Validator)
    with pytest.raises(ContractError):
        received(Delivered(json.dumps(payload).encode(), "application/cloudevents+json"), 0, "default")
