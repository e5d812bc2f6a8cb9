"""The acceptance pipelines: what is drawn of them, and that they run inline as they stand."""

from datetime import date
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from penstock.contracts.fan_outs import defaults_of, fan_out_lines
from penstock.contracts.spec import EachSpec, PipelineSpec, decode_spec, encode_spec
from penstock.sdk import Directory, File
from penstock.sdk.drawing.traced import Traced
from tests.sdk.surface.pipelines import (
    p01_retrain,
    p02_torch_script,
    p04_batch_score,
    p05_sweep,
    p06_cpu_gpu,
    p07_regions,
    p10_drift,
)

FOLDER = Path(__file__).parent / "surface" / "pipelines"
PIPELINES = [
    ("p01_retrain", "retrain"),
    ("p02_torch_script", "vision"),
    ("p03_event_retrain", "daily"),
    ("p04_batch_score", "nightly"),
    ("p05_sweep", "grid"),
    ("p05_sweep", "sweep"),
    ("p05_sweep", "halving"),
    ("p06_cpu_gpu", "search"),
    ("p07_regions", "all_regions"),
    ("p10_drift", "check"),
    ("readme_example", "retrain"),
]


@pytest.fixture
def wine(tmp_path: Path) -> File:
    pd.DataFrame({"x": range(20), "y": [0, 1] * 10}).to_csv(tmp_path / "wine.csv", index=False)
    return File(tmp_path / "wine.csv")


@pytest.mark.parametrize(("module", "name"), PIPELINES)
def test_every_acceptance_pipeline_traces_and_its_spec_round_trips(module: str, name: str) -> None:
    traced = getattr(import_module(f"tests.sdk.surface.pipelines.{module}"), name).trace()

    assert decode_spec(encode_spec(traced.spec)) == traced.spec
    assert Traced.from_bytes(traced.to_bytes()) == traced
    assert all(step.code.digest and step.environment.digest for step in traced.spec.steps if step.is_dispatched)
    assert any(inside.endswith(f"{module}.py") for inside in traced.files) or module == "p02_torch_script"
    assert set(traced.files.values()) <= set(traced.sources)


def test_a_fan_out_is_opened_by_its_argument_and_its_dependants_stay_in_it() -> None:
    spec = p01_retrain.retrain.trace().spec

    assert scopes(spec) == {
        "split": (),
        "each-train.depth": (),
        "train": ("each-train.depth",),
        "evaluate": ("each-train.depth",),
        "collect-train": (),
        "collect-evaluate": (),
        "pick_best": (),
        "final": (),
        "deploy": (),
    }


def test_two_each_in_a_call_make_a_grid_whose_size_is_known() -> None:
    spec = p05_sweep.grid.trace().spec

    assert scopes(spec)["fit"] == ("each-fit.lr", "each-fit.depth")
    assert fan_out_lines(spec, defaults_of(spec)) == ["fit: 2 × 3 = 6"]
    assert "fit: 2 × 3 = 6" in p05_sweep.grid.text


def test_a_sub_pipeline_in_a_fan_out_is_in_its_scope_under_its_own_name() -> None:
    spec = p07_regions.all_regions.trace().spec

    assert scopes(spec)["one_region/features"] == ("each-one_region.region", "one_region/each-features.shard")
    assert scopes(spec)["one_region/fit"] == ("each-one_region.region",)


def test_a_batched_fan_out_says_its_size() -> None:
    (node,) = [node for node in p04_batch_score.nightly.trace().spec.nodes if isinstance(node, EachSpec)]

    assert node.batch == 100


def test_a_command_has_no_machine_path_in_its_arguments_and_its_folder_in_the_snapshot() -> None:
    traced = p02_torch_script.vision.trace()

    assert str(FOLDER) not in encode_spec(traced.spec).decode()
    assert {"scripts/src/prep.py", "scripts/src/train.py"} <= set(traced.files)


def test_a_trace_does_not_change_from_one_time_to_the_next() -> None:
    assert p01_retrain.retrain.trace().to_bytes() == p01_retrain.retrain.trace().to_bytes()


def test_retraining_runs_inline(wine: File) -> None:
    run = p01_retrain.retrain.options(inline=True).run(wine, depths=[1, 2, 3])

    assert run.state == "succeeded"
    assert len(run[p01_retrain.train]) == 3
    assert run["final"].metrics["accuracy"] == [run["final"].result()]
    assert run["split"].inputs == {"raw": wine}
    assert run.result() is run[p01_retrain.pick_best].result()


def test_a_script_and_a_command_run_inline_untouched() -> None:
    run = p02_torch_script.vision.options(inline=True).run(images=Directory(FOLDER / "images"))

    assert "vision-2" in run.result().path.read_text()


def test_a_grid_runs_inline_in_order_of_its_indexes() -> None:
    result = p05_sweep.grid.options(inline=True).run(File(__file__)).result()

    assert result == [[1 - lr / depth for depth in (3, 5, 7)] for lr in (0.5, 0.1)]


def test_a_sweep_ends_at_the_first_good_trial() -> None:
    run = p05_sweep.sweep.options(inline=True).run(File(__file__), target=0.9)

    assert run.result() == p05_sweep.Config(0.1, 3)


def test_successive_halving_runs_inline() -> None:
    run = p05_sweep.halving.options(inline=True).run(File(__file__))

    assert {name: len(step_runs) for name, step_runs in run.steps.items() if name.startswith("train")} == {
        "train-rung0": 8,
        "train-rung1": 4,
        "train-rung2": 2,
    }
    assert run.result().lr == 0.001


def test_sub_pipelines_run_inline_once_per_region() -> None:
    run = p07_regions.all_regions.options(inline=True, replace={"one_region/features": feature_file}).run()

    assert run.result() == {"eu": 2.0, "usa": 3.0}
    assert len(run["features"]) == 5


def test_a_batch_of_images_is_scored_inline(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"bias": 0.5}')

    run = p04_batch_score.nightly.options(inline=True).run(
        model=File(tmp_path / "model.json"), images=Directory(FOLDER / "images"), day=date(2026, 11, 20)
    )

    assert run.result().path.read_text().splitlines()[1] == "1.jpg,0.5"


def test_an_optional_input_that_is_none_runs_its_consumer(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("select 1")

    run = p10_drift.check.options(inline=True).run(sql=File(tmp_path / "a.sql"), day=date(2026, 11, 20))

    assert run.result() == 0.0
    assert run["announce"].state == "skipped"


def test_declared_files_are_in_the_snapshot_and_in_the_step() -> None:
    traced = p06_cpu_gpu.search.trace()

    (index,) = [step for step in traced.spec.steps if step.name == "index"]
    assert [path for path in index.files if path.endswith("sql/index.sql")] == [path for path in traced.files if path.endswith(".sql")]
    assert index.retries.limit == 1


def feature_file(shard: str) -> File:
    Path(f"{shard}.parquet").touch()
    return File(f"{shard}.parquet")


def scopes(spec: PipelineSpec) -> dict[str, tuple[str, ...]]:
    return {node.name: node.scope for node in spec.nodes}
