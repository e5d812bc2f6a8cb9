"""What `--json` says of values."""

from penstock.contracts.artifacts import ArtifactRef, ListValue, RecordValue, inline
from penstock.deploy.cli.run_json import plain_values


def test_lists_and_records_of_small_values_are_plain_data() -> None:
    nested = ListValue(list=(ListValue(list=()), ListValue(list=(inline(1), inline({"a": None})))))

    assert plain_values({"all": nested, "best": RecordValue(record={"loss": inline(0.5)})}) == {
        "all": [[], [1, {"a": None}]],
        "best": {"loss": 0.5},
    }


def test_stored_bytes_are_shown_by_their_ref_wherever_they_are() -> None:
    stored = ArtifactRef(uri="cas:sha256:aa", digest="sha256:aa", size=3, media_type="text/csv")

    assert plain_values({"files": ListValue(list=(stored,))}) == {"files": [stored.model_dump(exclude_defaults=True)]}
