"""The identity of an environment that nobody declared: the interpreter, the platform, and what the imported modules come from.

Only distributions that provide an imported module, and those they require, are in it. So an unrelated install changes nothing.
"""

import platform
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, PathDistribution
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from penstock.contracts.encoding import digest_bytes, digest_of
from penstock.contracts.spec import Identity
from penstock.sdk.identity.guest_contract import GUEST_CONTRACT_VERSION

ABSENT = "not installed"


def environment_of(imports: Iterable[str]) -> Identity:
    """The environment of code that imports these top-level modules, as it is installed for this interpreter."""
    installed = _installed(_stamps())
    components = {
        "python": python_version(),
        "platform": f"{sys.platform}-{platform.machine().lower()}",
        "penstock": str(GUEST_CONTRACT_VERSION),
    }
    waiting: list[tuple[str, str]] = []
    for module in sorted(set(imports) - {"penstock"} - sys.stdlib_module_names):
        providers = installed.providers(module)
        waiting += [(name, "") for name in providers]
        if not providers:
            components[f"module {module}"] = _loose_module(module)
    components |= {f"distribution {name}": version for name, version in _with_requirements(installed, waiting)}
    components = dict(sorted(components.items()))
    return Identity(digest=digest_of(components), components=components)


def _loose_module(module: str) -> str:
    """A module that no distribution provides, such as compiled code that lies on the path: the digest of its file."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return ABSENT
    if spec is None:
        return ABSENT
    file = Path(spec.origin or "")
    return digest_bytes(file.read_bytes()) if file.is_file() else "present"


def python_version() -> str:
    """The minor version, as `3.11`; another implementation than CPython by name too."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = sys.implementation.name
    return version if name == "cpython" else f"{name} {version}"


def _with_requirements(installed: "Installed", waiting: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen or name == "penstock":
            continue
        seen.add((name, extra))
        metadata = installed.metadata(name)
        if metadata is None:
            # A requirement that isn't there can still come, and then the code may take another way.
            yield name, ABSENT
            continue
        yield name, metadata.version
        for requirement in metadata.requirements:
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]


@dataclass(frozen=True)
class Metadata:
    version: str
    requirements: tuple[Requirement, ...]


class Installed:
    """The distributions on the path, read as far as they are asked for. The first of a name counts, as for imports."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._places: dict[str, Path] = {}
        self._metadata: dict[str, Metadata | None] = {}
        self._providers: dict[str, tuple[str, ...]] = {}
        self._contents: dict[str, str] = {}
        for folder in folders:
            for name in sorted(place.name for place in Path(folder).iterdir()):
                if name.endswith((".dist-info", ".egg-info")):
                    self._places.setdefault(canonicalize_name(name.rpartition(".")[0].partition("-")[0]), Path(folder, name))

    def providers(self, module: str) -> tuple[str, ...]:
        """The names of the distributions that hold a top-level module; several share a namespace package."""
        if module not in self._providers:
            obvious = canonicalize_name(module)
            regular = rf"^{re.escape(module)}(/__init__\.py|\.py|(\.[^/,]*)?\.(so|pyd)),"
            if obvious in self._places and re.search(regular, self._listing(obvious), re.MULTILINE):
                self._providers[module] = (obvious,)
            else:
                self._providers[module] = tuple(sorted(name for name in self._places if self._holds(name, module)))
        return self._providers[module]

    def metadata(self, name: str) -> Metadata | None:
        if name not in self._metadata:
            place = self._places.get(name)
            self._metadata[name] = None if place is None else _read_metadata(PathDistribution(place))
        return self._metadata[name]

    def _holds(self, name: str, module: str) -> bool:
        listing = self._listing(name)
        return re.search(rf"^{re.escape(module)}(/|\.py,|(\.[^/,]*)?\.(so|pyd),|,$)", listing, re.MULTILINE) is not None

    def _listing(self, name: str) -> str:
        """The files of a distribution, each with a comma behind it as in `RECORD`; the top-level names of older ones."""
        if name not in self._contents:
            place = self._places[name]
            try:
                self._contents[name] = (place / "RECORD").read_text("utf-8")
            except OSError:
                self._contents[name] = ""
            try:
                names = (place / "top_level.txt").read_text("utf-8").split()
            except OSError:
                names = []
            self._contents[name] += "\n" + "\n".join(f"{top}," for top in names)
        return self._contents[name]


def _read_metadata(distribution: Distribution) -> Metadata | None:
    # The headers alone: a parser of mail would read the long description too, for milliseconds a distribution.
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    headers = [line.partition(": ") for line in text.partition("\n\n")[0].splitlines()]
    version = next((value.strip() for name, _, value in headers if name == "Version"), None)
    if version is None:
        return None
    lines = [value for name, _, value in headers if name == "Requires-Dist"]
    return Metadata(version, tuple(_readable(lines or distribution.requires or [])))


def _readable(lines: Iterable[str]) -> Iterator[Requirement]:
    for line in lines:
        try:
            yield Requirement(line)
        except InvalidRequirement:
            # What the installer could not read either has no effect on what is installed.
            continue


def _stamps() -> tuple[tuple[str, int], ...]:
    """The folders of the path with their times of change: an install or removal changes the time."""
    folders = [Path(entry) for entry in dict.fromkeys(sys.path) if Path(entry).is_dir()]
    return tuple((str(folder), folder.stat().st_mtime_ns) for folder in folders)


@lru_cache(maxsize=4)
def _installed(stamps: tuple[tuple[str, int], ...]) -> Installed:
    return Installed(folder for folder, _ in stamps)
