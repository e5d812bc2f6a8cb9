"""Specs: one identity for one meaning; a graph that can't be run is refused with the node's name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.artifacts import inline
from penstock.contracts.errors import ContractError, UnknownVersion
from penstock.contracts.spec import PipelineSpec, decode_spec, encode_spec, node_bindings, node_sources, spec_digest
from tests.contracts.examples import COLLECT, EACH, PICK, PIPELINE, TRAIN

PLAIN: dict[str, Any] = json.loads(encode_spec(PIPELINE))
IDENTITY = {"digest": "sha256:00"}


def step(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "run": {"module": "m", "function": "f"}, "code": IDENTITY, "environment": IDENTITY, **fields}


def pipeline(*nodes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"spec": 1, "name": "p", "nodes": list(nodes), **fields}


EACH_DEPTH = {"name": "each-depth", "each": [{"value": inline([1, 2]).model_dump()}]}


def test_a_spec_comes_back_from_its_bytes_with_the_same_identity() -> None:
    again = decode_spec(encode_spec(PIPELINE))

    assert again == PIPELINE
    assert spec_digest(again) == spec_digest(PIPELINE)


def test_spelling_a_default_out_does_not_change_the_identity() -> None:
    terse = decode_spec(pipeline(step("a")))
    spelled = decode_spec(pipeline(step("a", pool="cpu", cache=True, retries={"limit": 0}), doc=""))

    assert spec_digest(terse) == spec_digest(spelled)


def test_unknown_fields_do_not_change_the_identity() -> None:
    assert spec_digest(decode_spec({**PLAIN, "a_later_field": 1})) == spec_digest(PIPELINE)


@pytest.mark.parametrize("change", [{"name": "other"}, {"doc": "other"}, {"nodes": PLAIN["nodes"][:3], "outputs": {}}])
def test_any_change_gives_another_identity(change: dict[str, Any]) -> None:
    assert spec_digest(decode_spec({**PLAIN, **change})) != spec_digest(PIPELINE)


def test_sources_are_what_must_come_before() -> None:
    assert node_sources(TRAIN) == ["each-depths", "split"]
    assert node_sources(COLLECT) == ["each-depths", "train"]
    assert node_sources(PICK) == ["collect-train"]
    assert len(node_bindings(TRAIN)) == 7
    assert node_sources(EACH) == ["split"]


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (
            pipeline(step("a", inputs={"x": {"node": "b"}}), step("b", inputs={"x": {"node": "a"}})),
            r"'a' needs 'b', which is not .*a cycle",
        ),
        (pipeline(step("a", inputs={"x": {"node": "a"}})), "'a' needs 'a'"),
        (pipeline(step("a", after=["nobody"])), "'a' needs 'nobody'"),
        (pipeline(step("a", inputs={"x": {"list": [{"select": [0], "of": {"node": "nobody"}}]}})), "'a' needs 'nobody'"),
        (pipeline(step("a"), step("a")), "two nodes are named 'a'"),
        (pipeline(step("a", inputs={"x": {"parameter": "raw"}})), "'a' needs the parameter 'raw'"),
        (pipeline(step("a"), outputs={"result": {"node": "b"}}), "the output 'result' needs 'b'"),
        (pipeline(step("a"), outputs={"result": {"parameter": "b"}}), "the output 'result' needs the parameter 'b'"),
        (pipeline(step("a"), step("b", scope=["a"])), "inside of 'a', which opens no fan-out"),
        (pipeline(step("a"), {"name": "c", "collect": {"node": "a"}, "over": "a"}), "inside of 'a', which opens no fan-out"),
        (pipeline(EACH_DEPTH, step("a", inputs={"x": {"item": "each-depth"}})), "current item of 'each-depth', which is not around it"),
        (pipeline({**step("a"), "code": None}), r"nodes\.0\.code"),
        (pipeline(step("a", pool=3)), r"nodes\.0\.pool: Input should be a valid string"),
        (pipeline(step("a", inputs={"x": {"glob": "*", "file": "f", "of": {"node": "a"}}})), "either glob or file"),
        (pipeline(step("a", inputs={"x": 5})), r"nodes\.0\.inputs\.x"),
        ({"spec": 1}, "name: Field required"),
    ],
)
def test_a_graph_that_cannot_be_run_is_refused_with_the_place(spec: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        decode_spec(spec)


@pytest.mark.parametrize("spec", [{**PLAIN, "spec": 2}, {"spec": 7, "steps": "of another shape"}, b'{"spec": 2, "name": 1}'])
def test_a_spec_of_another_version_is_refused_as_such(spec: bytes | dict[str, Any]) -> None:
    with pytest.raises(UnknownVersion, match="this Penstock reads version 1"):
        decode_spec(spec)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b'{"spec": "x"}', b"[" * 100_000])
def test_bytes_that_are_no_spec_are_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        decode_spec(data)


@given(st.data())
def test_a_spec_with_a_piece_cut_out_is_read_or_refused(data: st.DataObject) -> None:
    encoded = encode_spec(PIPELINE)
    start = data.draw(st.integers(0, len(encoded)))
    end = data.draw(st.integers(start, len(encoded)))
    try:
        spec = decode_spec(encoded[:start] + encoded[end:])
    except ContractError:
        return
    assert isinstance(spec, PipelineSpec)
