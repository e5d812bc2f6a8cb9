"""An artifact store on disk, and encoding and decoding against it."""

from pathlib import Path
from typing import Any

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.sdk.values.codecs import Encoded, decode, encode
from penstock.transport.blobs import BlobFolder


class Bench:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = BlobFolder(root / "artifacts")
        self.workdir = root / "work"
        self.workdir.mkdir()
        self.read: list[str] = []

    def encode(self, value: object, annotation: Any = Any) -> Value:
        return self.take(encode(value, annotation, self.blobs.staging))

    def take(self, encoded: Encoded) -> Value:
        for staged in encoded.files:
            self.blobs.take(staged.path, staged.digest)
        assert list(self.blobs.staging.iterdir()) == []
        return encoded.value

    def decode(self, value: Value, annotation: Any = Any, parameter: str = "data") -> Any:
        return decode(value, annotation, self.local, parameter=parameter, workdir=self.workdir)

    def local(self, ref: ArtifactRef) -> Path:
        self.read.append(ref.digest)
        return self.blobs.local(ref.digest)

    def there_and_back(self, value: object, annotation: Any = Any) -> Any:
        return self.decode(self.encode(value, annotation), annotation)
