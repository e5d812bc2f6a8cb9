"""What users import, and what their type checkers find in it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import penstock.sdk

NEGATIVES = Path(__file__).parent / "surface" / "typing_negatives.py"
# Those without scikit-learn, which ships no types.
PIPELINES = sorted(path for path in (NEGATIVES.parent / "pipelines").glob("*.py") if path.stem not in ("p01_retrain", "test_steps"))
ROOT = Path(__file__).parents[2]
PARTS = [str(ROOT / part) for part in ("contracts", "transport", "sdk")]


def test_the_exported_names_are_pinned() -> None:
    assert penstock.sdk.__all__ == [
        "All", "Any", "Batch", "CommandStep", "Concurrency", "Cron", "Debounce", "Decision", "Directory", "Done", "Environment", "File",
        "GraphError", "InvalidInput", "KeepName", "OnData", "OnEvent", "OnRun", "Output", "PenstockError", "Pipeline", "Resources", "Retry",
        "Run", "RunFailed", "RunSummary", "ScriptStep", "Secret", "Step", "StepRun", "StepRuns", "Throttle", "approval", "collect",
        "component", "current_run", "each", "either", "not_", "otherwise", "pipeline", "recorded_run", "register", "step", "transfer",
        "when",
    ]  # fmt: skip
    assert penstock.sdk.__all__ == sorted(penstock.sdk.__all__)


def test_every_name_can_be_imported_and_unknown_ones_say_so() -> None:
    assert all(getattr(penstock.sdk, name) is not None for name in penstock.sdk.__all__)
    assert dir(penstock.sdk) == penstock.sdk.__all__
    with pytest.raises(ImportError, match="stepp"):
        exec("from penstock.sdk import stepp")  # noqa: S102 -- what users write


def test_mypy_finds_every_wrong_line_and_no_other(tmp_path: Path) -> None:
    config = tmp_path / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = True\nmypy_path = {':'.join(PARTS)}\nexplicit_package_bases = True\nnamespace_packages = True\n")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(config),
        "--cache-dir",
        str(tmp_path / "cache"),
        str(NEGATIVES),
        *map(str, PIPELINES),
    ]

    output = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout

    found = {(Path(file).name, int(line)) for file, line in re.findall(r"^(.*?):(\d+): error", output, re.MULTILINE)}
    assert found == marked_lines(), output


def test_pyright_finds_every_wrong_line_and_no_other(tmp_path: Path) -> None:
    config = {
        "include": ["checked"],
        "extraPaths": PARTS,
        "typeCheckingMode": "strict",
        "pythonVersion": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    # Pyright looks at files below its configuration only.
    (tmp_path / "checked").mkdir()
    for path in (NEGATIVES, *PIPELINES):
        (tmp_path / "checked" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]

    output = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout

    diagnostics = json.loads(output)["generalDiagnostics"]
    found = {(Path(item["file"]).name, item["range"]["start"]["line"] + 1) for item in diagnostics if item["severity"] == "error"}
    assert found == marked_lines(), output


def marked_lines() -> set[tuple[str, int]]:
    marked = {(NEGATIVES.name, number) for number, line in enumerate(NEGATIVES.read_text().splitlines(), 1) if "# N" in line}
    assert len(marked) == 25
    return marked
