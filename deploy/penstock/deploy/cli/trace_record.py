"""What a trace of a pipeline file leaves behind, and when it still holds: as long as every file and version it saw is the same.

So a run whose steps are all hits never imports the user's libraries.
"""

import hashlib
import platform
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.contracts.spec import PipelineSpec
from penstock.deploy.cli.targets import Target
from penstock.sdk.drawing.traced import Traced
from penstock.sdk.runs.state_home import make_state_home
from penstock.transport.directories import file_digest

_FORMAT = 2
# As the environment of a step writes them.
_DISTRIBUTION = "distribution "
_MODULE = "module "
_ABSENT = "not installed"


class TraceRecord(BaseModel):
    """A trace as a file: `traced` is its bytes as text, `distributions` the versions its steps' environments name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    penstock: str
    python: str
    file: str | None
    module: str | None
    asked: str | None
    pipeline: str
    traced: str
    sources: dict[str, str]
    distributions: dict[str, str]
    stamps: dict[str, int]
    """When the folders of installed distributions were changed last: while nothing was, no version needs to be read."""

    @property
    def holds(self) -> bool:
        """Whether a trace made now would be the same."""
        return (
            self.format == _FORMAT
            and self.penstock == _version("penstock")
            and self.python == platform.python_version()
            and all(source_digest(path) == digest for path, digest in self.sources.items())
            and (self.stamps == _stamps() or all(_version(name) == known for name, known in self.distributions.items()))
        )

    @property
    def target(self) -> Target:
        """What it was a trace of."""
        return Target(file=Path(self.file) if self.file else None, module=self.module, pipeline=self.asked)


def read_trace(home: Path, target: Target) -> Traced | None:
    """The kept trace of `target`, if it still holds."""
    record = _read(_place(home, target))
    return Traced.from_bytes(record.traced.encode()) if record is not None and record.holds else None


def keep_trace(home: Path, target: Target, traced: Traced) -> Traced:
    """Keeps a trace for the next time; a folder that can't be written only costs time. Staged constants move beside it.

    A trace that missed a module is not kept: that module's installation would not be noticed. Nor is one with published components,
    whose default can change.
    """
    versions = _component_versions(traced.spec)
    if versions is None or traced.components:
        return traced
    place = _place(home, target)
    staging = place.with_suffix(".part")
    try:
        make_state_home(home)
        (place.parent / "constants").mkdir(parents=True, exist_ok=True)
        blobs = {digest: str(_kept_blob(place.parent / "constants", digest, Path(path))) for digest, path in traced.blobs.items()}
        traced = replace(traced, blobs=blobs)
        staging.write_text(_record(target, traced, versions).model_dump_json())
        staging.replace(place)
    except OSError:
        with suppress(OSError):
            staging.unlink(missing_ok=True)
    return traced


def source_digest(path: str) -> str:
    """The digest of a file; empty where it can't be read."""
    try:
        return file_digest(Path(path))
    except OSError:
        return ""


def last_target_of(home: Path, pipeline: str) -> Target | None:
    """Where the pipeline of that name was traced last, whether or not the trace still holds."""
    places = sorted((home / "traces").glob("*.json"), key=lambda place: place.stat().st_mtime, reverse=True)
    records = (_read(place) for place in places)
    return next((record.target for record in records if record is not None and record.pipeline == pipeline), None)


def _record(target: Target, traced: Traced, versions: dict[str, str]) -> TraceRecord:
    return TraceRecord(
        format=_FORMAT,
        penstock=_version("penstock"),
        python=platform.python_version(),
        file=str(target.file) if target.file is not None else None,
        module=target.module,
        asked=target.pipeline,
        pipeline=traced.spec.name,
        traced=traced.to_bytes().decode(),
        sources=traced.sources,
        distributions=versions,
        stamps=_stamps(),
    )


def _component_versions(spec: PipelineSpec) -> dict[str, str] | None:
    versions: dict[str, str] = {}
    for step in spec.steps:
        for component, value in step.environment.components.items():
            if component.startswith(_MODULE):
                return None
            if component.startswith(_DISTRIBUTION):
                versions[component.removeprefix(_DISTRIBUTION)] = value
    return versions


def _kept_blob(folder: Path, digest: str, source: Path) -> Path:
    place = folder / digest.replace(":", "-")
    if not place.exists():
        place.write_bytes(source.read_bytes())
    return place


def _stamps() -> dict[str, int]:
    folders = [Path(text) for text in sys.path if text.endswith(("site-packages", "dist-packages"))]
    return {str(folder): folder.stat().st_mtime_ns for folder in folders if folder.is_dir()}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return _ABSENT


def _place(home: Path, target: Target) -> Path:
    entry = str(target.file) if target.file is not None else f"{Path.cwd()}|{target.module}"
    return home / "traces" / f"{hashlib.sha256(f'{entry}|{target.pipeline}'.encode()).hexdigest()[:32]}.json"


def _read(place: Path) -> TraceRecord | None:
    try:
        return TraceRecord.model_validate_json(place.read_bytes())
    except (OSError, ValidationError):
        return None
