"""Artifact refs and values: what a reader can observe counts, and where bytes are does not."""

import base64

import pytest
from hypothesis import given

from penstock.contracts.artifacts import (
    INLINE_LIMIT,
    NULL,
    ArtifactRef,
    DirectoryEntry,
    DirectoryManifest,
    ListManifest,
    ListValue,
    RecordValue,
    SelectedValue,
    TemplateValue,
    Value,
    content_digest,
    inline,
    manifest_bytes,
    refs_in,
)
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ContractError
from tests.contracts.strategies import VALUES

BLOB = ArtifactRef(uri="cas:sha256:aa", digest="sha256:aa", size=3, media_type="text/csv", suffix=".csv", name="wine.csv")


@pytest.mark.parametrize("value", [None, 0, -1.5, "text ä", [1, {"a": None}], {"b": [True]}])
def test_small_json_values_travel_inside_their_ref(value: object) -> None:
    ref = inline(value)

    assert ref.is_inline
    assert ref.json_value() == value
    assert ref.digest == digest_bytes(ref.inline_bytes())


def test_a_value_over_the_limit_does_not_travel_inline() -> None:
    with pytest.raises(ContractError, match="can't travel inline"):
        inline("x" * INLINE_LIMIT)


@pytest.mark.parametrize(
    "uri",
    [
        "cas:sha256:aa",
        "data:text/plain,hello",
        "data:application/json;base64,####",
        "data:application/json;base64," + base64.b64encode(b"other").decode(),
    ],
)
def test_inline_bytes_that_are_not_as_promised_are_refused(uri: str) -> None:
    with pytest.raises(ContractError):
        ArtifactRef(uri=uri, digest=digest_bytes(b"1"), size=1).json_value()


def test_inline_bytes_that_are_not_json_are_refused() -> None:
    data = b"{not json"
    ref = ArtifactRef(uri="data:application/json;base64," + base64.b64encode(data).decode(), digest=digest_bytes(data), size=len(data))

    with pytest.raises(ContractError, match="not JSON"):
        ref.json_value()


@pytest.mark.parametrize(
    "changed",
    [
        BLOB.model_copy(update={"digest": "sha256:bb"}),
        BLOB.model_copy(update={"kind": "directory"}),
        BLOB.model_copy(update={"media_type": "text/plain"}),
        BLOB.model_copy(update={"suffix": ".tsv"}),
        BLOB.model_copy(update={"name": "beer.csv"}),
        ListValue(list=(BLOB,)),
        RecordValue(record={"a": BLOB}),
        SelectedValue(select=("a",), of=BLOB),
        TemplateValue(template=(BLOB,)),
    ],
)
def test_whatever_a_reader_can_observe_changes_the_content_digest(changed: Value) -> None:
    assert content_digest(changed) != content_digest(BLOB)


@pytest.mark.parametrize("changed", [{"uri": "s3://bucket/key"}, {"size": 4}])
def test_where_bytes_are_does_not_change_the_content_digest(changed: dict[str, object]) -> None:
    assert content_digest(BLOB.model_copy(update=changed)) == content_digest(BLOB)


def test_values_of_different_shape_have_different_content_digests() -> None:
    one, two = inline(1), inline(2)
    values: list[Value] = [
        one,
        ListValue(list=()),
        ListValue(list=(one,)),
        ListValue(list=(one, two)),
        ListValue(list=(two, one)),
        RecordValue(record={"a": one}),
        RecordValue(record={"b": one}),
        SelectedValue(select=(0,), of=one),
        SelectedValue(select=("0",), of=one),
        TemplateValue(template=("a", one)),
        TemplateValue(template=("a", one.digest)),
    ]

    assert len({content_digest(value) for value in values}) == len(values)


@given(VALUES)
def test_every_value_has_a_content_digest_and_refs(value: Value) -> None:
    assert content_digest(value) == content_digest(value.model_copy(deep=True))
    assert all(isinstance(ref, ArtifactRef) for ref in refs_in(value))


def test_refs_come_in_order_and_from_every_depth() -> None:
    value = ListValue(
        list=(NULL, RecordValue(record={"a": BLOB}), TemplateValue(template=("x", inline(1))), SelectedValue(select=(0,), of=BLOB))
    )

    assert refs_in(value) == [NULL, BLOB, inline(1), BLOB]


def test_manifests_come_back_from_their_bytes() -> None:
    directory = DirectoryManifest(files=(DirectoryEntry(path="a/b", digest="sha256:aa", size=1, executable=True),))
    items = ListManifest(items=(BLOB, inline(3), ListValue(list=(NULL,))))

    assert DirectoryManifest.model_validate_json(manifest_bytes(directory)) == directory
    assert ListManifest.model_validate_json(manifest_bytes(items)) == items
