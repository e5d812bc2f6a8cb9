"""Profiles: named tables of settings in a project's `penstock.toml`, `[profiles.staging]` and the like."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from penstock.contracts.errors import InvalidInput
from penstock.sdk.nearest import nearest_hint
from penstock.sdk.runs.state_home import project_folder

FILE = "penstock.toml"


def read_profile(name: str, start: Path) -> dict[str, Any]:
    """The settings of the profile `name` of the project around `start`.

    :raises InvalidInput: there is no such profile, or the file can't be read.
    """
    path = project_folder(start) / FILE
    tables = _tables(path)
    if name not in tables:
        raise InvalidInput(
            f"there is no profile {name!r} in {path}{nearest_hint(name, sorted(tables))}; write a table [profiles.{name}] there, "
            "or name another one with --profile or PENSTOCK_PROFILE"
        )
    found = tables[name]
    if not isinstance(found, Mapping):
        raise InvalidInput(f"profiles.{name} in {path} is not a table; write it as [profiles.{name}]")
    return dict(cast("Mapping[str, Any]", found))


def _tables(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path} can't be read: {error}") from error
    profiles = document.get("profiles", {})
    if not isinstance(profiles, Mapping):
        raise InvalidInput(f"`profiles` in {path} is not a table; write a profile as [profiles.NAME]")
    return dict(cast("Mapping[str, Any]", profiles))
