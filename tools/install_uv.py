"""Puts uv into a virtual environment of its own, with nothing but the standard library to start from.

Debian splits `ensurepip` off into the package python3-venv. Where it is missing, pip's own wheel, which runs as it is, does its work.
"""

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

UV = "uv>=0.13,<1"
PIP_RELEASE = "https://pypi.org/pypi/pip/json"


def main(folder: Path) -> None:
    has_pip = importlib.util.find_spec("ensurepip") is not None
    venv.create(folder, with_pip=has_pip, clear=True)
    python = folder / "bin" / "python"
    if has_pip:
        install(str(python), "-m", "pip")
        return
    with tempfile.TemporaryDirectory() as scratch:
        # A wheel of pip is a zip archive that Python can execute from.
        install(str(python), f"{download_pip(Path(scratch))}/pip")


def install(*pip: str) -> None:
    subprocess.run([*pip, "install", "--quiet", "--disable-pip-version-check", UV], check=True)


def download_pip(folder: Path) -> Path:
    """The newest wheel of pip, verified by the digest that the index gives."""
    with urllib.request.urlopen(PIP_RELEASE, timeout=60) as answer:
        files = json.load(answer)["urls"]
    wheel = next(file for file in files if file["packagetype"] == "bdist_wheel")
    with urllib.request.urlopen(wheel["url"], timeout=60) as answer:  # noqa: S310 - the index answers with https
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != wheel["digests"]["sha256"]:
        raise SystemExit("the download of pip is damaged; try again, or install the package python3-venv")
    path = folder / str(wheel["filename"])
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1]))
