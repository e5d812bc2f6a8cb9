"""What the environment says. Read once by a command; everything below gets plain values.

A dataclass, for pydantic-settings would be a tenth of the time that an all-hits run takes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from penstock.sdk.runs.state_home import HOME_NAME, engine_name, project_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`home` is the state folder, instead of `.penstock/` beside the pipeline's project."""

    home: Path | None = None
    engine: str = "embedded"
    names_services: bool = False
    """Whether somebody says where services are."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """From `PENSTOCK_HOME` and `PENSTOCK_ENGINE`; a profile is one of services."""
        home = environment.get("PENSTOCK_HOME")
        engine = engine_name(environment)
        names_services = engine != "embedded" or bool(environment.get("PENSTOCK_API_URL"))
        return cls(home=Path(home).expanduser().absolute() if home else None, engine=engine, names_services=names_services)

    def state_folder(self, start: Path) -> Path:
        """The state folder of the project around `start`."""
        return self.home if self.home is not None else project_folder(start) / HOME_NAME
