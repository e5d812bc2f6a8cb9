"""The secrets of a user of this machine: a file beside their other settings, for their eyes only, never in a project."""

import json
import os
import secrets
from pathlib import Path

from penstock.contracts.errors import InvalidInput
from penstock.runners.known_secrets import secret_of_runner

_FILE = "secrets.json"


def secrets_file() -> Path:
    """Where they are: below `XDG_CONFIG_HOME`, else `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "penstock" / _FILE


def secret_of_user(name: str) -> str | None:
    """As a runner finds it, else in the user's file, else the variable of that very name.

    :raises InvalidInput: the file can't be used.
    """
    if (found := secret_of_runner(name)) is not None:
        return found
    return read_secrets().get(name, os.environ.get(name))


def read_secrets() -> dict[str, str]:
    """By name.

    :raises InvalidInput: others may read the file, or it is none of ours.
    """
    path = secrets_file()
    try:
        if path.stat().st_mode & 0o077:
            raise InvalidInput(f"others can read {path}; make it yours alone: chmod 600 {path}")
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"the secrets in {path} can't be read ({type(error).__name__}); correct the file, or remove it") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} holds no names and secrets; remove it and set them again")
    return {str(name): str(value) for name, value in found.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # of JSON


def write_secrets(values: dict[str, str]) -> None:
    """In place of those before; the file is never readable by others, and never half written.

    :raises InvalidInput: it can't be written.
    """
    path = secrets_file()
    staged = path.with_name(f".{_FILE}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(values, file, indent=1, sort_keys=True)
        staged.replace(path)
    except OSError as error:
        raise InvalidInput(f"the secrets can't be written to {path}: {error.strerror}") from error
    finally:
        staged.unlink(missing_ok=True)
