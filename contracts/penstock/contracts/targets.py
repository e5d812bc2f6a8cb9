"""What a coordinator does itself where a step stands: it asks people, or gives an artifact a name. No runner has a part in it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.contracts.numbers import Seconds

QUESTION = "question"
"""The input of an approval that is asked; its other inputs are evidence, under names for people."""
ARTIFACT = "artifact"
"""The input of a registration that gets the name."""
OnTimeout = Literal["approve", "reject", "fail"]
ArtifactName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Alias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
"""It starts with a letter: a number is a version."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class ApprovalTarget(_Model):
    """People are asked. `approvers` are names of people and groups; empty: whoever operates the workspace.

    Its output is a record: `approved`, `by`, `comment`. Where nobody answers in time, that is an approval, a rejection, or a failure.
    """

    approvers: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...]
    timeout_seconds: Annotated[Seconds, Field(gt=0)] | None = None
    on_timeout: OnTimeout = "reject"


class RegisterTarget(_Model):
    """The input `artifact` becomes the next version of `name`; what the newest version is already becomes no other. `alias` moves there."""

    name: ArtifactName
    alias: Alias | None = None
