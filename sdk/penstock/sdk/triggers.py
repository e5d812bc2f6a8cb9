"""Rules that turn events, times and data changes into runs, as declared on a pipeline: inert data."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, init=False)
class OnEvent:
    """An event of a type, where the expression `where` holds. `parameters` maps parameter names to expressions over `event`."""

    type: str
    where: str | None
    parameters: dict[str, str]
    dedupe: str | None

    def __init__(
        self,
        type: str,  # noqa: A002  # read as an event's type
        *,
        where: str | None = None,
        parameters: dict[str, str] | None = None,
        dedupe: str | None = None,
    ) -> None:
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "where", where)
        object.__setattr__(self, "parameters", dict(parameters or {}))
        object.__setattr__(self, "dedupe", dedupe)


@dataclass(frozen=True, slots=True, init=False)
class Cron:
    """Times, as a cron expression in the time zone `tz`. `catch_up` says which missed times count."""

    schedule: str
    tz: str
    parameters: dict[str, str]
    catch_up: Literal["none", "latest", "all"]

    def __init__(
        self,
        schedule: str,
        *,
        tz: str = "UTC",
        parameters: dict[str, str] | None = None,
        catch_up: Literal["none", "latest", "all"] = "none",
    ) -> None:
        object.__setattr__(self, "schedule", schedule)
        object.__setattr__(self, "tz", tz)
        object.__setattr__(self, "parameters", dict(parameters or {}))
        object.__setattr__(self, "catch_up", catch_up)


@dataclass(frozen=True, slots=True, init=False)
class OnData:
    """New or changed data at a URI with wildcards."""

    uri: str
    parameters: dict[str, str]

    def __init__(self, uri: str, *, parameters: dict[str, str] | None = None) -> None:
        object.__setattr__(self, "uri", uri)
        object.__setattr__(self, "parameters", dict(parameters or {}))


@dataclass(frozen=True, slots=True, init=False)
class OnRun:
    """The success of another pipeline's run."""

    pipeline: str
    parameters: dict[str, str]

    def __init__(self, pipeline: str, *, parameters: dict[str, str] | None = None) -> None:
        object.__setattr__(self, "pipeline", pipeline)
        object.__setattr__(self, "parameters", dict(parameters or {}))


@dataclass(frozen=True, slots=True, init=False)
class All:
    """All of several, joined where the expression `key` is equal, no further apart than `within`."""

    triggers: "tuple[Trigger, ...]"
    key: str | None
    within: str | None
    parameters: dict[str, str]

    def __init__(
        self, *triggers: "Trigger", key: str | None = None, within: str | None = None, parameters: dict[str, str] | None = None
    ) -> None:
        object.__setattr__(self, "triggers", triggers)
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "within", within)
        object.__setattr__(self, "parameters", dict(parameters or {}))


@dataclass(frozen=True, slots=True, init=False)
class Any:
    """Any one of several."""

    triggers: "tuple[Trigger, ...]"
    parameters: dict[str, str]

    def __init__(self, *triggers: "Trigger", parameters: dict[str, str] | None = None) -> None:
        object.__setattr__(self, "triggers", triggers)
        object.__setattr__(self, "parameters", dict(parameters or {}))


Trigger = OnEvent | Cron | OnData | OnRun | All | Any
