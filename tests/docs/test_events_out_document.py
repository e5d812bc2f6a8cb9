"""The AsyncAPI document of outgoing events says what the code does."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.contracts.event_types import RUN_TYPES, STEP_TYPES
from penstock.contracts.events import RunEvent, StepEvent, routing_key
from penstock.engine.outgoing.webhooks import CONTENT_TYPE
from penstock.transport.bus import Exchange
from tests.contracts.examples import EVENTS

PAGE = Path(__file__).parents[2] / "docs" / "events-out.asyncapi.yaml"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PAGE.read_text(encoding="utf-8"))
    return found


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = re.findall(r'\$ref: "([^"]+)"', PAGE.read_text(encoding="utf-8"))

    assert references
    for reference in references:
        if reference.startswith("#/"):
            place: Any = document
            for part in reference[2:].split("/"):
                place = place[part]
        else:
            assert (PAGE.parent / reference).is_file()


@pytest.mark.parametrize("event", EVENTS.values(), ids=list(EVENTS))
def test_routing_keys_are_as_the_document_has_them(document: dict[str, Any], event: RunEvent | StepEvent) -> None:
    channels = [channel for channel in document["channels"].values() if channel["address"]]
    patterns = [re.sub(r"\{\w+\}", r"[^.]+", channel["address"].replace(".", r"\.")) for channel in channels[:2]]

    assert any(re.fullmatch(pattern, routing_key(event)) for pattern in patterns)


def test_types_exchange_and_content_type_are_those_of_the_code(document: dict[str, Any]) -> None:
    channels = document["channels"]
    said = [
        *(f"penstock.run.{what}" for what in channels["runs"]["parameters"]["what"]["enum"]),
        *(f"penstock.step.{what}" for what in channels["steps"]["parameters"]["what"]["enum"]),
    ]

    assert said == [*RUN_TYPES, *STEP_TYPES]
    assert document["components"]["channelBindings"]["events"]["amqp"]["exchange"]["name"] == Exchange.EVENTS.value
    assert CONTENT_TYPE.startswith(document["defaultContentType"])
