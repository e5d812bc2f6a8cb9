"""Pickles: never of spoiled bytes, never with files in them, and of the classes of scripts on either side."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from penstock.contracts.artifacts import (
    ArtifactRef,
)
from penstock.contracts.errors import ArtifactLost, InvalidInput
from penstock.sdk.types import File
from penstock.sdk.values.codecs import Encoded, decode, encode
from penstock.sdk.values.formats import PICKLE
from tests.sdk.codec_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class Model:
    def __init__(self, weights: list[float]) -> None:
        self.weights = weights


def test_a_file_hidden_in_an_object_is_refused(bench: Bench) -> None:
    model = Model([])
    model.weights = File("x")  # type: ignore[assignment]  # what no type checker sees

    with pytest.raises(InvalidInput, match=r"File\('x'\) is inside"):
        bench.encode(model, Model)
    assert list(bench.blobs.staging.iterdir()) == []


def test_a_pickle_of_spoiled_bytes_is_never_loaded(bench: Bench) -> None:
    value = bench.encode(Model([0.1]), Model)
    assert isinstance(value, ArtifactRef)
    assert value.media_type == PICKLE
    blob = bench.blobs.path_of(value.digest)
    blob.chmod(0o644)
    blob.write_bytes(b"cbuiltins\nexit\n(tR.")

    with pytest.raises(ArtifactLost):
        bench.decode(value, Model)


def test_a_pickle_of_code_that_is_not_here_says_so(bench: Bench) -> None:
    path = bench.blobs.staging / "pickle"
    path.write_bytes(b"cno_such_module\nModel\n.")
    value = Encoded(ArtifactRef(uri="cas:x", digest="x", size=1, media_type=PICKLE), [])

    with pytest.raises(InvalidInput, match="no_such_module"):
        decode(value.value, Any, lambda ref: path)


CLASSES = """
import sys
from pathlib import Path
from penstock.contracts.artifacts import ArtifactRef
from penstock.sdk.values.codecs import decode, encode

class Model:
    def __init__(self, weights):
        self.weights = weights

    class Part:
        pass

pickled = Path(sys.argv[-1])
"""
WRITING = """
if __name__ == "__main__":
    encode([Model([0.5]), Model.Part], object, pickled.parent).files[0].path.rename(pickled)
"""
READING = f"""
if __name__ == "__main__":
    ref = ArtifactRef(uri="cas:x", digest="x", size=1, media_type="{PICKLE}")
    model, part = decode(ref, object, lambda ref: pickled)
    print(type(model) is Model, model.weights, part is Model.Part)
"""


def test_a_guest_understands_objects_of_a_script(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.root / "training_script.py").write_text(CLASSES + WRITING)
    monkeypatch.setattr(sys, "path", [str(bench.root), *sys.path])
    pickled = bench.root / "pickled"

    subprocess.run([sys.executable, bench.root / "training_script.py", pickled], check=True)
    model, part = decode(ArtifactRef(uri="cas:x", digest="x", size=1, media_type=PICKLE), Any, lambda ref: pickled)

    module = import_module("training_script")
    assert (type(model), model.weights, part) == (module.Model, [0.5], module.Model.Part)


@pytest.mark.parametrize("by_guest", [True, False])
def test_a_script_understands_objects_of_its_classes(bench: Bench, monkeypatch: pytest.MonkeyPatch, by_guest: bool) -> None:
    name = f"scoring_script_{by_guest}".lower()
    script, pickled = bench.root / f"{name}.py", bench.root / "pickled"
    script.write_text(CLASSES + ("" if by_guest else WRITING) + READING)
    monkeypatch.setattr(sys, "path", [str(bench.root), *sys.path])
    if by_guest:
        module = import_module(name)
        encode([module.Model([0.5]), module.Model.Part], Any, bench.root).files[0].path.rename(pickled)

    told = subprocess.run([sys.executable, script, pickled], capture_output=True, text=True, check=True).stdout

    assert told == "True [0.5] True\n"
