"""Files that define pools: `pools.yaml` of services, and the table `[pools]` in the penstock.toml of a laptop's project."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from penstock.contracts.errors import InvalidInput
from penstock.contracts.pool_file import file_of, pools_in
from penstock.contracts.pools import PoolSpec


def read_pools(path: Path) -> list[PoolSpec]:
    """The pools that a YAML file defines.

    :raises InvalidInput: it can't be read, or naming the place and what is wrong there.
    """
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"{path} can't be read: {error}") from error
    return pools_in(plain, str(path))


def pools_text(pools: Iterable[PoolSpec]) -> str:
    """A YAML file with these pools."""
    return yaml.safe_dump(file_of(pools), sort_keys=False, allow_unicode=True)


def declared_pools(path: Path) -> dict[str, PoolSpec]:
    """The pools of the table `[pools]` in a penstock.toml; none where there is no such table.

    :raises InvalidInput: it can't be read, or naming the place and what is wrong there.
    """
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path} can't be read: {error}") from error
    if "pools" not in document:
        return {}
    return {pool.name: pool for pool in pools_in({"pools": document["pools"]}, str(path))}
