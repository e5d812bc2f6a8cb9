"""Datastores by declaration: where they may stand, and what is refused."""

from pathlib import Path

import pytest

from penstock.contracts.errors import DatastoreUnavailable, InvalidInput
from penstock.deploy.declared_datastores import declared_datastores
from penstock.transport.datastores.place import Declaration

PROJECT = """
[datastores.lake]
url = "s3://lake/daily"
endpoint_url = "http://minio:9000"
secret = "lake-key"

[datastores.drops]
url = "file:///srv/drops"
workspaces = ["sales"]
"""


def declared(text: str, folder: Path, environment: dict[str, str] | None = None) -> list[Declaration]:
    (folder / "penstock.toml").write_text(text)
    return declared_datastores(environment or {}, folder, {"lake-key": "key:canary"}.get)


def test_a_project_declares_them_in_its_file(tmp_path: Path) -> None:
    lake, drops = declared(PROJECT, tmp_path)

    assert (lake.name, lake.url, lake.endpoint_url) == ("lake", "s3://lake/daily", "http://minio:9000")
    assert lake.credentials is not None
    assert lake.credentials() == "key:canary"
    assert "canary" not in repr(lake)
    assert drops.credentials is None
    assert (lake.workspaces, drops.workspaces) == (None, frozenset({"sales"}))


def test_services_have_them_in_a_variable_or_a_file_instead(tmp_path: Path) -> None:
    other = tmp_path / "datastores.toml"
    other.write_text('[datastores.other]\nurl = "s3://other"\n')

    (inline,) = declared(PROJECT, tmp_path, {"PENSTOCK_DATASTORES": '{"raw": {"url": "s3://raw"}}'})
    (in_file,) = declared(PROJECT, tmp_path, {"PENSTOCK_DATASTORES_FILE": str(other)})

    assert (inline.url, in_file.url) == ("s3://raw", "s3://other")


def test_nothing_is_declared_where_nobody_does(tmp_path: Path) -> None:
    assert declared("", tmp_path) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[datastores.lake]\nurl = "s3://user:hunter2@lake"', "credentials"),
        ('[datastores.lake]\nurl = "s3://lake"\nendpoint_url = "http://user:hunter2@minio"', "name a secret"),
        ('[datastores.lake]\nurl = "s3://lake"\nsecret_key = "hunter2"', "lake"),
        ('[datastores.lake]\nendpoint_url = "http://minio"', "url"),
        ('[datastores.lake]\nurl = "ftp://lake"', "no address of data"),
        ('datastores = "s3://lake"', "no tables"),
        ('datastores.lake = "s3://lake"', "lake"),
        ("[datastores", "read"),
    ],
)
def test_what_cant_be_used_is_told_without_passwords(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as refused:
        declared(text, tmp_path)
    assert "hunter2" not in str(refused.value)


def test_variables_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="both"):
        declared("", tmp_path, {"PENSTOCK_DATASTORES": "{}", "PENSTOCK_DATASTORES_FILE": "x"})
    with pytest.raises(InvalidInput, match="JSON"):
        declared("", tmp_path, {"PENSTOCK_DATASTORES": "lake=s3://lake"})


def test_a_secret_that_is_not_known_is_named(tmp_path: Path) -> None:
    (lake,) = declared('[datastores.lake]\nurl = "s3://lake"\nsecret = "other"', tmp_path)

    assert lake.credentials is not None
    with pytest.raises(DatastoreUnavailable, match="other"):
        lake.credentials()
