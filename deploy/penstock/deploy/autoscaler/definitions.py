"""What operators say to the autoscaler: which pools there are, and how their runners are started."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.contracts.errors import InvalidInput
from penstock.contracts.pool_file import pools_in
from penstock.contracts.pools import PoolSpec
from penstock.deploy.autoscaler.fleet_source import FleetView


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

    pools: dict[str, Any] = {}
    runners: RunnerTemplate = RunnerTemplate()


class Definitions:
    """The file is read anew each time: an edit holds from the next look on.

    :raises InvalidInput: from each method: naming the place and what is wrong there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def pools(self) -> list[PoolSpec]:
        """As `penstock pools apply` reads them; none where the file is about runners only."""
        return pools_in({"pools": self._read().pools}, str(self._path))

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
            raise InvalidInput(f"{self._path}: {place}: {first['msg']}; it may hold `pools:` and `runners:`") from error


class PoolSource:
    """Which pools an autoscaler sees to: those of its file, else those that the API knows by `penstock pools apply`.

    `needs_image`: it starts containers, so that pools without an image are somebody else's.
    """

    def __init__(self, definitions: Definitions | None, *, needs_image: bool) -> None:
        self._definitions = definitions
        self._needs_image = needs_image

    def pools(self, seen: FleetView) -> list[PoolSpec]:
        """:raises InvalidInput: the file can't be used."""
        applied = {name: view.definition for name, view in seen.pools.items() if view.definition is not None}
        if given := self._definitions.pools() if self._definitions is not None else []:
            drained = {name for name, pool in applied.items() if pool.is_draining}
            return [pool.model_copy(update={"is_draining": pool.name in drained}) for pool in given]
        return [pool for pool in applied.values() if pool.image or not self._needs_image]
