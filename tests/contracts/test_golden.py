"""What is stored and sent stays readable, and is written the same, byte by byte: golden files are added, never edited."""

import json
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from penstock.contracts.events import decode_event
from penstock.contracts.messages import Message, decode
from penstock.contracts.spec import decode_spec, spec_digest
from tests.contracts.examples import EVENTS, MESSAGES, PIPELINE
from tests.contracts.golden import FIXTURES, SCHEMA_OF, SCHEMAS, golden_files, schema_text

GOLDEN = golden_files()


@pytest.mark.parametrize("path", list(GOLDEN), ids=lambda path: path.name)
def test_encoding_gives_the_golden_bytes(path: Path) -> None:
    assert path.read_bytes() == GOLDEN[path]


def test_every_message_has_a_golden_file() -> None:
    assert {type(message) for message in MESSAGES.values()} == set(get_args(get_args(Message)[0]))


def test_every_golden_file_is_compared() -> None:
    assert set(FIXTURES.iterdir()) == set(GOLDEN)


@pytest.mark.parametrize("name", list(MESSAGES))
def test_golden_messages_decode(name: str) -> None:
    assert decode((FIXTURES / f"{name}.msgpack").read_bytes()) == MESSAGES[name]


@pytest.mark.parametrize("name", list(EVENTS))
def test_golden_events_decode(name: str) -> None:
    assert decode_event((FIXTURES / f"{name}.json").read_bytes()) == EVENTS[name]


def test_the_golden_pipeline_decodes_and_keeps_its_identity() -> None:
    spec = decode_spec((FIXTURES / "pipeline.v1.json").read_bytes())

    assert spec == PIPELINE
    assert spec_digest(spec) == "sha256:08473e84fc9addf19995835dd5211e5e99ca3d899153089b34f17bf60e9a8b42"


@pytest.mark.parametrize("name", list(SCHEMA_OF))
def test_the_committed_schema_is_current(name: str) -> None:
    assert (SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8") == schema_text(name), "run: make schemas"


@pytest.mark.parametrize(
    ("schema", "fixture"),
    [
        ("pipeline", "pipeline.v1"),
        ("pipeline", "pipeline-people.v1"),
        *[("message", name) for name in MESSAGES],
        *[("event", name) for name in EVENTS],
    ],
)
def test_golden_files_fit_their_schema(schema: str, fixture: str) -> None:
    document = json.loads((FIXTURES / f"{fixture}.json").read_text(encoding="utf-8"))

    jsonschema.validate(document, json.loads(schema_text(schema)))


def test_a_schema_refuses_what_does_not_fit() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"spec": 1, "name": 3}, json.loads(schema_text("pipeline")))
