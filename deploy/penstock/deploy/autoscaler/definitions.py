"""What operators write for the autoscaler: pools, and how their runners are started, in one YAML file."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.contracts.errors import InvalidInput
from penstock.contracts.pools import PoolSpec, decode_pool


class RunnerTemplate(BaseModel):
    """What every runner gets. Variables here go before those that it takes over from the autoscaler.

    `network` is a network of the Docker engine, `mounts` are `PLACE:PLACE[:ro]` as for `docker run --volume`. `gpus` are the UUIDs of the
    host's GPUs, for an autoscaler that can't see them itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str = "bridge"
    mounts: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    gpus: tuple[str, ...] | None = None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    pools: list[dict[str, Any]]
    runners: RunnerTemplate = RunnerTemplate()


class Definitions:
    """The file is read anew each time: an edit holds from the next look on.

    :raises InvalidInput: from each method: naming the place and what is wrong there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def pools(self) -> list[PoolSpec]:
        pools = [decode_pool(plain) for plain in self._read().pools]
        names = [pool.name for pool in pools]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InvalidInput(f"{self._path}: the pool {min(twice)!r} is defined twice")
        return pools

    def template(self) -> RunnerTemplate:
        return self._read().runners

    def _read(self) -> _File:
        try:
            return _File.model_validate(yaml.safe_load(self._path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidInput(f"{self._path} can't be read: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "it"
            raise InvalidInput(f"{self._path}: {place}: {first['msg']}; it holds `pools:`, and may hold `runners:`") from error
