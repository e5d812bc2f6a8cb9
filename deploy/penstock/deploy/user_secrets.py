"""The secrets of a user of this machine: a file beside their other settings, for their eyes only, never in a project."""

import os
from pathlib import Path

from penstock.deploy.private_files import private_folder, read_private, write_private
from penstock.runners.known_secrets import secret_of_runner

_FILE = "secrets.json"


def secrets_file() -> Path:
    """Where they are."""
    return private_folder() / _FILE


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
    return {name: str(value) for name, value in read_private(secrets_file()).items()}


def write_secrets(values: dict[str, str]) -> None:
    """In place of those before.

    :raises InvalidInput: the file can't be written.
    """
    write_private(secrets_file(), values)
