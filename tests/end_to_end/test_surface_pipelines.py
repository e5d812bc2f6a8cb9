"""The acceptance pipelines run as their users run them: as scripts, and as the cells of a notebook."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.processes import penstock
from tests.end_to_end.user_project import until
from tests.environments.package_index import PackageIndex

SURFACE = Path(__file__).parents[1] / "sdk" / "surface" / "pipelines"

KERNEL = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in open("p08_notebook.py").read().split("# %% ")[1:]:
    shell.run_cell("# " + cell, store_history=True).raise_error()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with the pipelines and their data."""
    folder = tmp_path / "project"
    shutil.copytree(SURFACE, folder, ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    rows = "\n".join(f"{number},{number % 2}" for number in range(40))
    (folder / "wine.csv").write_text(f"x,y\n{rows}\n")
    (folder / "a.sql").write_text("select 1")
    return folder


def script(folder: Path, name: str, **variables: str) -> str:
    """What `python name` prints; it must succeed."""
    environment = {**os.environ, "PENSTOCK_HOME": str(folder / "home"), **variables}
    finished = subprocess.run([sys.executable, name], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def replace(file: Path, *pairs: tuple[str, str]) -> None:
    """Fills in what the example leaves out."""
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def test_retraining_with_a_grid_and_a_gate(folder: Path) -> None:
    printed = script(folder, "p01_retrain.py")

    assert printed.startswith("succeeded 0.")
    assert "train: 2" in printed


def test_the_readme_example_gets_its_own_class_back(folder: Path) -> None:
    printed = script(folder, "readme_example.py")

    assert printed.startswith("succeeded <__main__.Model object at ")
    assert printed.endswith("0.9 0.9\n")


def test_a_script_and_a_command(folder: Path) -> None:
    assert script(folder, "p02_torch_script.py").startswith("<pre>")


def test_a_retraining_that_asks_people_before_it_deploys(folder: Path) -> None:
    replace(
        folder / "p03_event_retrain.py",
        ('File("s3://lake/sales.parquet")', 'File("wine.csv")'),
        (
            '    out = Directory("data")\n',
            '    Path("data").mkdir()\n    Path("data", "rows").write_text(raw.path.read_text())\n    out = Directory("data")\n',
        ),
        ('    return File("model.bin")', '    Path("model.bin").write_text("weights")\n    return File("model.bin")'),
        ("from datetime import date\n", "from datetime import date\nfrom pathlib import Path\n"),
    )
    environment = {**os.environ, "PENSTOCK_HOME": str(folder / "home"), "PENSTOCK_SECRET_DEPLOY_TOKEN": "t", "PENSTOCK_SECRET_SLACK": "{}"}
    command = [sys.executable, "p03_event_retrain.py"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: process.poll() is not None or "ok" in answered(folder), 60)
        printed, said = process.communicate(timeout=60)

    assert process.returncode == 0, said
    assert printed.startswith("Outcome(auc=0.93, url='https://models.acme/7')\n")
    assert "approval(question=" in printed


def answered(folder: Path) -> str:
    """`ok` once an approval was found and answered in another process."""
    finished = penstock(folder, "approve", "--comment", "go")
    assert finished.returncode == 0 or "no run waits" in finished.stderr, finished.stderr
    if finished.returncode == 0:
        assert finished.stdout.startswith("sales-daily-1: Deploy the model of 2026-11-20 (AUC 0.930)?\n"), finished.stdout
    return "ok" if finished.returncode == 0 else ""


def test_images_in_batches(folder: Path) -> None:
    printed = script(folder, "p04_batch_score.py")

    assert printed.startswith("file,p\n1.jpg,0.5\n")


def test_sweeps_and_halving(folder: Path) -> None:
    grid, sweep, halving = script(folder, "p05_sweep.py").splitlines()

    assert grid == str([[1 - lr / depth for depth in (3, 5, 7)] for lr in (0.5, 0.1)])
    assert sweep.startswith("Config(lr=0.01, depth=")
    assert sweep.endswith(" 6")
    assert halving.startswith("Config(lr=0.001, depth=")
    assert "'train-rung0': 8, 'top-rung0': 1, 'train-rung1': 4" in halving


def test_cpu_and_gpu_pools_with_secrets_and_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    index = PackageIndex(tmp_path / "index")
    index.add_installed()
    index.add("pebble", "1.0")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "search"\nversion = "1"\nrequires-python = ">=3.11"\n[project.optional-dependencies]\ngpu = ["pebble"]\n'
    )
    variables = {"UV_CONFIG_FILE": str(index.configuration), "UV_CACHE_DIR": str(tmp_path / "uv-cache")}

    printed = script(folder, "p06_cpu_gpu.py", PENSTOCK_SECRET_WAREHOUSE="db://x", PENSTOCK_SECRET_HF="token", **variables)

    assert Path(printed.strip()).is_dir()


def test_a_sub_pipeline_for_each_region(folder: Path) -> None:
    replace(
        folder / "p07_regions.py",
        ('    return File(f"{shard}.parquet")', '    open(f"{shard}.parquet", "w").close()\n    return File(f"{shard}.parquet")'),
        ("    return Trained(File(", '    open(f"{len(parts)}.bin", "w").close()\n    return Trained(File('),
    )

    printed = script(folder, "p07_regions.py")

    assert printed.startswith("{'eu': 2.0, 'usa': 3.0} {")
    assert "'one_region/features': 5" in printed


def test_an_optional_baseline(folder: Path) -> None:
    assert script(folder, "p10_drift.py") == "0.0\n"


def test_a_second_run_of_a_script_takes_everything_from_the_cache(folder: Path) -> None:
    replace(folder / "p05_sweep.py", ("run = sweep.run(data)", "run = sweep.run(data); print(all(s.is_hit for s in run['configs']))"))
    script(folder, "p05_sweep.py")

    assert "True" in script(folder, "p05_sweep.py").splitlines()


def test_the_cells_of_a_notebook(folder: Path) -> None:
    (folder / "kernel.py").write_text(KERNEL)

    printed = script(folder, "kernel.py")

    assert printed.splitlines()[-1] == "0.3333333333333333"
