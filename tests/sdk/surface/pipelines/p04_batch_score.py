"""Score 5,000 images, 100 a step, on the GPU pool; a few corrupt ones must not kill the night."""
import json
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from penstock.sdk import Directory, File, Resources, collect, current_run, each, pipeline, step


@cache                                                      # isolation="reuse": one process per slot, so loaded once a slot, not once a batch
def load(path: Path) -> Any:
    return json.loads(path.read_text())


@step(pool="gpu", resources=Resources(gpu=1), isolation="reuse", retries=1)
def score(model: File, images: Sequence[File]) -> pd.DataFrame:
    net = load(model.path)
    current_run().progress(len(images), len(images))
    return pd.DataFrame({"file": [i.path.name for i in images], "p": [net["bias"]] * len(images)})


@step
def concat(parts: Sequence[pd.DataFrame]) -> File:
    out = Path("scores.csv")
    pd.concat(list(parts)).to_csv(out, index=False)
    return File(out.resolve())


@pipeline
def nightly(model: File, images: Directory, day: date) -> File:
    part = score(model, each(images.files("*.jpg"), batch=100))
    scores = concat(collect(part, missing="drop", at_least=0.99))
    return scores


if __name__ == "__main__":
    Path("model.json").write_text('{"bias": 0.5}')
    run = nightly.run(model=File("model.json"), images=Directory(Path(__file__).parent / "images"), day=date(2026, 11, 20))
    print(run.result().path.read_text(), len(run["score"]))
