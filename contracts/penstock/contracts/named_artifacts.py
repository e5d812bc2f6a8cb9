"""Named artifacts: `artifact://churn@prod`, `artifact://churn@3`, `artifact://churn`, and what is known of their versions."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from penstock.contracts.artifacts import ArtifactRef, Value, content_digest
from penstock.contracts.errors import InvalidInput
from penstock.contracts.targets import Alias

SCHEME = "artifact://"
_REFERENCE = re.compile(r"artifact://([a-z0-9][a-z0-9_-]{0,62})(?:@([a-z0-9][a-z0-9_-]{0,62}))?")


@dataclass(frozen=True, slots=True)
class Reference:
    """`which` is a version, an alias, or None for the newest."""

    name: str
    which: int | str | None = None

    @override
    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" if self.which is None else f"{SCHEME}{self.name}@{self.which}"


def reference(text: str) -> Reference:
    """The reference that is written so; `artifact://` in front of it may be left out.

    :raises InvalidInput: it is none.
    """
    found = _REFERENCE.fullmatch(text if text.startswith(SCHEME) else SCHEME + text)
    if found is None:
        raise InvalidInput(
            f"{text[:200]!r} names no artifact: write {SCHEME}NAME@ALIAS, {SCHEME}NAME@VERSION, or {SCHEME}NAME for the newest version; "
            "names hold a-z, 0-9, '_' and '-'"
        )
    which = found[2]
    if which is None or not which[0].isdigit():
        return Reference(found[1], which)
    if not which.isdecimal() or len(which) > 18:
        raise InvalidInput(f"{text[:200]!r}: after the @ comes a version, which is a number, or an alias, which starts with a letter")
    return Reference(found[1], int(which))


def is_reference(value: object) -> bool:
    """Whether a ref stands for a named artifact, which is looked up when a run starts."""
    return isinstance(value, ArtifactRef) and value.uri.startswith(SCHEME)


def unresolved(text: str) -> ArtifactRef:
    """The ref that travels in a parameter until the run starts.

    :raises InvalidInput: as `reference`.
    """
    return ArtifactRef(uri=str(reference(text)), digest="", size=0)


def digest_shown(value: Value) -> str:
    """The digest by which people know a version: the artifact's own, where it is one. Contents, kind and suffix tell versions apart."""
    return value.digest if isinstance(value, ArtifactRef) else content_digest(value)


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class ArtifactVersionView(_View):
    """A version of a named artifact. `run` made it; None: somebody did by hand."""

    name: str
    version: int
    digest: str
    value: Value
    made_at: int
    made_by: str = ""
    run: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        return str(Reference(self.name, self.version))


class NamedArtifactView(_View):
    """A named artifact as a whole: its newest version, how many there are, and which of them aliases mean."""

    name: str
    newest: int
    versions: int
    aliases: dict[str, int] = {}
    digest: str
    made_at: int


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class AliasRequest(_Request):
    """Where an alias is to be: a version."""

    version: Annotated[int, Field(ge=1, le=2**62)]


class RegisterRequest(_Request):
    """A version by hand: of what a step of a run gave, of stored bytes by their digest, or of another version.

    `of` is a digest, or a reference as `churn@3`; `run`, `step`, `index` and `output` name an output. One of both.
    """

    of: Annotated[str, Field(max_length=200)] | None = None
    run: Annotated[str, Field(max_length=255)] | None = None
    step: Annotated[str, Field(max_length=300)] | None = None
    index: Annotated[tuple[int, ...], Field(max_length=20)] = ()
    output: Annotated[str, Field(max_length=255)] = "result"
    alias: Alias | None = None
