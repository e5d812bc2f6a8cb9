"""Unit tests of steps and of a pipeline: no server, no cache, no mock library."""
from pathlib import Path

import pandas as pd
import pytest
from tests.sdk.surface.pipelines.p01_retrain import evaluate, retrain, split, train
from penstock.sdk import File, GraphError, each, pipeline, recorded_run
from sklearn.ensemble import RandomForestClassifier


@pytest.fixture
def raw(tmp_path: Path) -> File:
    pd.DataFrame({"x": range(20), "y": [0, 1] * 10}).to_csv(tmp_path / "wine.csv", index=False)
    return File(tmp_path / "wine.csv")


def test_a_step_is_its_function(raw: File) -> None:
    parts = split(raw, test_size=0.5)

    assert len(parts.train) == len(parts.test) == 10


def test_metrics_are_recorded(raw: File) -> None:
    parts = split(raw)
    with recorded_run() as run:
        evaluate(train(parts.train, depth=2), parts.test)

    assert len(run.metrics["accuracy"]) == 1


def test_the_pipeline_with_a_fake_model(raw: File) -> None:
    def fake(data: pd.DataFrame, *, depth: int) -> RandomForestClassifier:
        return RandomForestClassifier(n_estimators=1, max_depth=depth, random_state=0).fit(data[["x"]], data["y"])

    run = retrain.options(inline=True, replace={"train": fake}).run(raw, depths=[1, 2, 3])

    assert len(run["train"]) == 3
    assert run.result().n_estimators == 1


def test_deciding_on_a_handle_says_what_to_do() -> None:
    @pipeline
    def wrong(raw: File) -> None:
        if split(raw):
            pass

    with pytest.raises(GraphError, match=r"with when"):
        wrong.run(raw=File("x"))


def test_forgotten_collect_says_so() -> None:
    from tests.sdk.surface.pipelines.p01_retrain import pick_best

    @pipeline
    def wrong(raw: File, depths: list[int]) -> RandomForestClassifier:
        parts = split(raw)
        return pick_best(train(parts.train, depth=each(depths)), [1.0])  # pyright: ignore[reportArgumentType]

    with pytest.raises(GraphError, match=r"collect\(train\)"):
        wrong.run(raw=File("x"), depths=[1])
