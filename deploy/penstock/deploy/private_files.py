"""Files below the user's settings that are for their eyes only: never readable by others, never half written."""

import json
import os
import secrets
from pathlib import Path
from typing import Any, cast

from penstock.contracts.errors import InvalidInput


def private_folder() -> Path:
    """Where they are: below `XDG_CONFIG_HOME`, else `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "penstock"


def read_private(path: Path) -> dict[str, Any]:
    """The JSON object in it; empty where there is no such file.

    :raises InvalidInput: others may read the file, or it is none of ours.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise InvalidInput(f"others can read {path}; make it yours alone: chmod 600 {path}")
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} can't be read ({type(error).__name__}); correct the file, or remove it") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} does not hold what it should; remove it")
    return cast("dict[str, Any]", found)


def write_private(path: Path, values: dict[str, Any]) -> None:
    """In place of those before.

    :raises InvalidInput: it can't be written.
    """
    staged = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(values, file, indent=1, sort_keys=True)
        staged.replace(path)
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}") from error
    finally:
        staged.unlink(missing_ok=True)
