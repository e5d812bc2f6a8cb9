"""Published pipelines and components: versions that never change, and which of them is meant where nobody says."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.contracts.triggers import TriggerSpec

VersionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
PublishedName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
VersionState = Literal["active", "deprecated", "disabled"]
"""Runs of a deprecated version carry a warning; a disabled one makes no new runs."""


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class PublishRequest(_Request):
    """`version` None: the next number. The same spec under the same version again changes nothing; another one is refused."""

    spec: dict[str, Any]
    version: VersionName | None = None
    triggers: Annotated[tuple[TriggerSpec, ...], Field(max_length=100)] = ()
    trigger_state: Literal["paused", "on"] = "paused"
    makes_default: bool = True
    note: Annotated[str, Field(max_length=1000)] = ""


class PublishComponentRequest(_Request):
    """A step or a pipeline that others take into theirs: a spec of one step, or of many."""

    kind: Literal["step", "pipeline"]
    spec: dict[str, Any]
    version: VersionName | None = None
    makes_default: bool = True
    note: Annotated[str, Field(max_length=1000)] = ""


class StateRequest(_Request):
    """`note` says why; None leaves what was said."""

    note: Annotated[str, Field(max_length=1000)] | None = None


class VersionRequest(_Request):
    """The version, or an alias of it, that is to be the default, or to have an alias."""

    version: VersionName


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class VersionView(_View):
    """A version of a pipeline or component."""

    name: str
    kind: Literal["step", "pipeline"] = "pipeline"
    version: str
    spec_digest: str
    state: VersionState
    note: str = ""
    published_at: int
    published_by: str = ""
    is_default: bool = False
    aliases: tuple[str, ...] = ()
    parameters: dict[str, str] = {}
    """Name to type, as people write it."""
    triggers: tuple[str, ...] = ()


class PublishedVersion(VersionView):
    """A version with what it consists of."""

    spec: dict[str, Any]
    trigger_specs: tuple[TriggerSpec, ...] = ()


class PublishedView(_View):
    """A published pipeline or component as a whole."""

    name: str
    kind: Literal["step", "pipeline"] = "pipeline"
    default_version: str | None
    versions: int
    doc: str = ""
    aliases: dict[str, str] = {}
    updated_at: int
