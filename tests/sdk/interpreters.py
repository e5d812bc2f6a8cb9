"""The Python versions that are supported, as far as this machine has them."""

import shutil
import subprocess
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13")


def interpreter(version: str) -> Path | None:
    """An interpreter of that minor version: on the path, of pyenv, or of uv; None where there is none."""
    named = shutil.which(f"python{version}")
    candidates = [Path(named)] if named else []
    candidates += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    uv = shutil.which("uv")
    if uv is not None:
        found = subprocess.run([uv, "python", "find", "--no-python-downloads", version], capture_output=True, text=True, check=False)
        candidates += [Path(found.stdout.strip())] if found.returncode == 0 else []
    return next((candidate for candidate in candidates if _is(candidate, version)), None)


def _is(candidate: Path, version: str) -> bool:
    # A shim may stand for a version that is not there.
    told = subprocess.run([str(candidate), "--version"], capture_output=True, text=True, check=False)
    return told.returncode == 0 and told.stdout.startswith(f"Python {version}.")
