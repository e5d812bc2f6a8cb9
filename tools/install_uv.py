"""Puts uv into a virtual environment of its own, with nothing but the standard library to start from.

Debian splits `ensurepip` off into the package python3-venv. Where it is missing, pip's own wheel, which runs as it is, does its work.
"""

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

UV = "uv>=0.13,<1"
PIP = "https://files.pythonhosted.org/packages/07/25/ee8c38ae72d66b844ce8eb9711ba905dba21ca1a8a0c960057c41cd23337/pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


def main(folder: Path) -> None:
    has_pip = importlib.util.find_spec("ensurepip") is not None
    venv.create(folder, with_pip=has_pip, clear=True)
    python = str(folder / "bin" / "python")
    if has_pip:
        install(python, "-m", "pip")
        return
    with tempfile.TemporaryDirectory() as scratch:
        # A wheel of pip is a zip archive that Python can execute from.
        install(python, f"{download_pip(Path(scratch))}/pip")


def install(*pip: str) -> None:
    subprocess.run([*pip, "install", "--quiet", "--disable-pip-version-check", UV], check=True)


def download_pip(folder: Path) -> Path:
    with urllib.request.urlopen(PIP, timeout=60) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != PIP_SHA256:
        raise SystemExit("the download of pip is damaged; try again, or install the package python3-venv")
    path = folder / PIP.rpartition("/")[2]
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1]))
