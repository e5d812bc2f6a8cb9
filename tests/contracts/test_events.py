"""Run events: CloudEvents that others can rely on."""

import json

import pytest
from hypothesis import given

from penstock.contracts.errors import ContractError
from penstock.contracts.events import RunData, RunEvent, StepEvent, decode_event, encode_event, routing_key, run_event, timestamp
from tests.contracts.examples import AT, EVENTS, RUN_ID
from tests.contracts.strategies import instances

RUN = RunData(run_id=RUN_ID, run_name="retrain-42", pipeline="retrain", spec_digest="sha256:00")


@given(instances(RunEvent) | instances(StepEvent))
def test_every_event_decodes_to_itself(event: RunEvent | StepEvent) -> None:
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize("event", EVENTS.values(), ids=list(EVENTS))
def test_an_event_has_all_that_cloudevents_asks_for(event: RunEvent | StepEvent) -> None:
    document = json.loads(encode_event(event))

    assert {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data"} <= document.keys()
    assert document["specversion"] == "1.0"
    assert all(name.islower() and name.isalnum() for name in document)


def test_the_id_follows_from_what_happened() -> None:
    once, again = (run_event("penstock.run.failed", RUN, workspace="default", at=at) for at in (AT, AT + 1))
    other = run_event("penstock.run.succeeded", RUN, workspace="default", at=AT)

    assert once.id == again.id != other.id


def test_the_topic_leads_from_the_fact_to_the_step() -> None:
    assert [routing_key(event) for event in EVENTS.values()] == ["run.succeeded.retrain", "step.failed.retrain.train"]


def test_a_step_run_is_addressed_by_its_index() -> None:
    assert EVENTS["step_failed.v1"].subject == "retrain-42/train/3/0"


@pytest.mark.parametrize(
    ("microseconds", "text"), [(0, "1970-01-01T00:00:00.000000Z"), (AT, "2025-11-20T12:00:00.123456Z"), (-1, "1969-12-31T23:59:59.999999Z")]
)
def test_times_are_exact_to_the_microsecond(microseconds: int, text: str) -> None:
    assert timestamp(microseconds) == text


@pytest.mark.parametrize("data", [b"", b"{}", b'{"type":"com.acme.sale"}', b'{"type":"penstock.run.failed","version":2}'])
def test_what_is_no_run_event_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError, match="not a run event"):
        decode_event(data)
