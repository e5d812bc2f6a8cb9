"""What collection keeps, whatever runs refer to."""

from pathlib import Path

import pytest

from penstock.deploy.embedded.collection import reachable
from penstock.transport.blobs import BlobFolder


@pytest.mark.parametrize("digest", ["", "sha256:../../x", "blake3:00", "sha256:" + "0" * 64, "x" * 10_000, "\0"])
def test_a_reference_to_what_can_not_be_there_ends_no_collection(tmp_path: Path, digest: str) -> None:
    folder = BlobFolder(tmp_path)
    kept = folder.write(b'{"items":[{"digest":"' + folder.write(b"part").encode() + b'"},{"digest":"../x"}]}')

    assert reachable(folder, {kept, digest}) == {kept, folder.write(b"part"), "../x", digest}


def test_a_blob_that_looks_like_a_manifest_and_is_nested_without_end_ends_no_collection(tmp_path: Path) -> None:
    folder = BlobFolder(tmp_path)
    blob = folder.write(b'{"items":' + b"[" * 100_000)

    assert reachable(folder, {blob}) == {blob}
