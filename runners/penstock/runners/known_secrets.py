"""Where a runner finds secrets by their names: in its variables, and in a folder that Kubernetes, Docker or an operator fills."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

ResolveSecret = Callable[[str], str | None]

FOLDER_VARIABLE = "PENSTOCK_SECRETS_FOLDER"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}")


def variable_of(name: str) -> str:
    """The variable that holds a secret: `PENSTOCK_SECRET_HF_TOKEN` for `hf-token`."""
    return f"PENSTOCK_SECRET_{re.sub(r'[^A-Za-z0-9]', '_', name).upper()}"


def secret_of_runner(name: str) -> str | None:
    """The variable `PENSTOCK_SECRET_<NAME>`, else the file of that name; no other variable, since those are the runner's own. Read anew
    each time: secrets change."""
    found = os.environ.get(variable_of(name))
    return found if found is not None else _in_folder(name)


def _in_folder(name: str) -> str | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder or not _NAME.fullmatch(name):
        return None
    path = Path(folder) / name
    try:
        if path.is_dir():
            # One file a key, as Kubernetes mounts a secret.
            files = [file for file in path.iterdir() if not file.name.startswith(".") and file.is_file()]
            return json.dumps({file.name: _text(file) for file in files})
        return _text(path)
    except FileNotFoundError:
        return None


def _text(path: Path) -> str:
    """Without the line end that editors and `echo` add."""
    return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
