"""What Helm makes of the chart with some values, kept beside them: so manifests are checked where there is no Helm too.

python -m tests.deploy.charts.render     writes them again; Helm is `helm` on PATH, or what PENSTOCK_TEST_HELM names
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
CHART = FOLDER.parents[2] / "deploy" / "helm" / "penstock"
CASES = sorted(path.name.removesuffix(".values.yaml") for path in FOLDER.glob("*.values.yaml"))
HELM = os.environ.get("PENSTOCK_TEST_HELM") or shutil.which("helm")
"""Read at import, for tests hide such variables from each other."""
AGAIN = "python -m tests.deploy.charts.render"
_KUBERNETES = "1.30.0"


def manifests(case: str) -> list[dict[str, Any]]:
    """The kept ones."""
    return documents(_kept(case).read_text(encoding="utf-8"))


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


def is_current(case: str) -> bool:
    """Whether what is kept was made of the chart and the values as they are."""
    return _kept(case).read_text(encoding="utf-8").startswith(_first_line(case))


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    assert HELM is not None
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


def rendered(case: str) -> str:
    done = helm("template", "demo", str(CHART), "--kube-version", _KUBERNETES, "--values", str(FOLDER / f"{case}.values.yaml"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def _kept(case: str) -> Path:
    return FOLDER / f"{case}.rendered.yaml"


def _first_line(case: str) -> str:
    """Of what it was made: the digest of the chart's files and of the values."""
    files = [*sorted(path for path in CHART.rglob("*") if path.is_file()), FOLDER / f"{case}.values.yaml"]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return f"# made of {digest.hexdigest()} by {AGAIN}\n"


def main() -> None:
    for case in CASES:
        _kept(case).write_text(_first_line(case) + rendered(case), encoding="utf-8")
        sys.stdout.write(f"{_kept(case)}\n")


if __name__ == "__main__":
    main()
