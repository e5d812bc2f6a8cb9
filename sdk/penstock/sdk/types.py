"""What users name in signatures and options: files, directories, secrets, resources, retries, environments, outputs."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Generic, Literal, Self, TypeVar

from typing_extensions import override

from penstock.contracts.errors import InvalidInput

T_co = TypeVar("T_co", covariant=True)
PathText = str | os.PathLike[str]


class _Named(os.PathLike[str]):
    """A file-system object by path; equal to another of its class with the same path."""

    def __init__(self, path: PathText, *, copy: bool = True) -> None:
        self._text = os.fspath(path)
        self.copy = copy

    @property
    def path(self) -> Path:
        return Path(self._text)

    @property
    def uri(self) -> str:
        """As it was written: a path, or a URI such as `s3://bucket/key`."""
        return self._text

    @property
    def is_remote(self) -> bool:
        """Whether it is named by a URI. A Windows drive letter is not a scheme."""
        return "://" in self._text

    @property
    def suffix(self) -> str:
        return self.path.suffix

    @override
    def __fspath__(self) -> str:
        return self._text

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Named) and type(other) is type(self) and other._text == self._text

    @override
    def __hash__(self) -> int:
        return hash((type(self).__name__, self._text))

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"


class File(_Named):
    """One file. A step that returns one gives its bytes to the artifact store; a step that takes one reads `path`."""


class Directory(_Named):
    """A folder and all in it. Its files are read in path order."""

    def files(self, glob: str = "**") -> list[File]:
        """The files that match `glob` (`*.jpg`, `a/*.csv`; `**` any depth), in path order."""
        return [File(path) for relative, path in self._walk() if matches(relative, glob)]

    def file(self, name: str) -> File:
        """The file at the relative path `name`.

        :raises InvalidInput: there is none.
        """
        found = self.path / name
        if not found.is_file():
            there = ", ".join(relative for relative, _ in list(self._walk())[:10]) or "nothing"
            raise InvalidInput(f"{self.path} holds no file {name!r}; it holds {there}")
        return File(found)

    def _walk(self) -> Iterator[tuple[str, Path]]:
        found = [path for path in self.path.rglob("*") if path.is_file()]
        pairs = [(path.relative_to(self.path).as_posix(), path) for path in found]
        yield from sorted(pairs)


def matches(relative: str, glob: str) -> bool:
    """Whether a relative path matches a glob, whose `**` stands for any number of folders and whose `*` stays in one."""
    return _match(relative.split("/"), glob.split("/"))


def _match(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        rest = patterns[1:] or ["*"]
        return any(_match(parts[i:], rest) for i in range(len(parts)))
    return bool(parts) and fnmatch(parts[0], patterns[0]) and _match(parts[1:], patterns[1:])


class KeepName:
    """`Annotated[File, KeepName]`: readers see the file under its own name, not the parameter's."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by name, resolved by the runner. It counts in cache keys by name only."""

    name: str
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a step needs. `memory` is bytes, or text such as `32GiB`."""

    cpu: float = 1.0
    memory: int | str | None = None
    gpu: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """`limit` more attempts after a failure, `delay` apart at first, then growing by `factor` up to `max_delay`.

    `on` names kinds of failure (`error`, `timeout`, `memory`, `signal`, ...); empty: any.
    """

    limit: int = 1
    delay: float | str = 1.0
    factor: float = 2.0
    max_delay: float | str = 300.0
    jitter: float = 0.2
    on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The software of a step: `Environment(packages=["pandas==2.2.3"])`, or made by one of the class methods.

    Packages are resolved once, to a lock with hashes, which is what cache keys hold. `python` is a minor version such as `3.12`;
    where it is left out, that of the interpreter which submits. Relative paths start at the project's folder.
    """

    kind: Literal["packages", "requirements", "project", "image"] = "packages"
    source: str = ""
    extras: tuple[str, ...] = ()
    packages: Sequence[str] = ()
    python: str | None = None
    network: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.packages, str):
            raise InvalidInput(f"packages is a list of requirements: packages=[{self.packages!r}]")
        object.__setattr__(self, "packages", tuple(self.packages))
        if self.python is not None and not re.fullmatch(r"3\.\d+", self.python):
            raise InvalidInput(f"the Python of an environment is a minor version such as '3.12', not {self.python!r}")

    @classmethod
    def from_project(cls, folder: PathText = ".", *, extras: tuple[str, ...] | list[str] = (), python: str | None = None) -> Self:
        """What `uv.lock` of the project at `folder` says; without such a file, its `pyproject.toml` is resolved."""
        return cls(kind="project", source=os.fspath(folder), extras=tuple(extras), python=python)

    @classmethod
    def from_requirements(cls, file: PathText = "requirements.txt", *, python: str | None = None) -> Self:
        """The packages that a requirements file names."""
        return cls(kind="requirements", source=os.fspath(file), python=python)

    @classmethod
    def from_packages(cls, *packages: str, python: str | None = None) -> Self:
        """The packages named, as `pip` requirements."""
        return cls(kind="packages", packages=packages, python=python)

    @classmethod
    def from_image(cls, image: str, *, network: bool = False) -> Self:
        """A container image, best by digest. Its steps run in Docker, and reach no network unless `network` says so."""
        return cls(kind="image", source=image, network=network)


class Output(Generic[T_co]):
    """What a script or program writes: `Output("model", Directory)`. `path` is where, relative to its working directory."""

    def __init__(self, name: str, type: type[T_co], *, path: str | None = None) -> None:  # noqa: A002  # people read it: type=
        self.name = name
        self.type = type
        self.path = name if path is None else path

    @override
    def __repr__(self) -> str:
        return f"Output({self.name!r}, {self.type.__name__})"


class Done:
    """What a step without a result gives: nothing, but it can be named in `after=`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a hook is told of its run. `state` is `succeeded`, `failed` or `cancelled`."""

    run_id: str
    name: str
    state: str
    pipeline: str = ""
    error: str | None = None
    url: str = ""
    tags: dict[str, str] = field(default_factory=dict[str, str])
    failed_steps: tuple[str, ...] = ()
    seconds: float = 0.0
