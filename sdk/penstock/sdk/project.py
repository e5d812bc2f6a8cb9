"""Which modules are the project's: those below the code root, on the path outside of what is installed, and path and editable installs.

What is installed in any other way belongs to a step's environment. Penstock itself is never a project's code. Standard library alone.
"""

import ast
import json
import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Project:
    """`roots` in order of search: the code root first. `installed` are path and editable installs: top-level name to file or folder."""

    roots: tuple[Path, ...]
    installed: tuple[tuple[str, Path], ...] = ()

    @property
    def root(self) -> Path:
        return self.roots[0]

    @classmethod
    def of(cls, module: ModuleType | Path) -> "Project":
        """The project of a module, or of a file that is or will be its entry."""
        if isinstance(module, ModuleType):
            name, file = real_name(module), module_source_file(module)
        else:
            name, file = None, module.resolve()
        roots = [_root_by_name(file, name) if file is not None and name is not None else None]
        if roots[0] is None:
            roots = [Path.cwd() if file is None else package_root(file)]
            if file is not None and file.parent != roots[0]:
                # A file in a package that was started as a script sees its neighbours by their bare names.
                roots.append(file.parent)
        path = tuple(sys.path)
        installed = dict(_installed(path))
        if name is not None and roots[0] is not None and is_foreign(roots[0]):
            # A step of a library: of what is installed beside it, nothing else is the project's.
            top = name.partition(".")[0]
            installed[top] = roots[0] / (top if name != top or (roots[0] / top).is_dir() else f"{top}.py")
            roots = []
        found = [root for root in [*roots, *_path_roots(path)] if root is not None] or [Path.cwd()]
        return cls(tuple(dict.fromkeys(found)), tuple(sorted(installed.items())))

    def file_of(self, module: str) -> Path | None:
        """The file of a project's module; None for all other modules, and for packages without `__init__.py`."""
        top, _, rest = module.partition(".")
        if top == "penstock" or not module:
            return None
        for root in self.roots:
            found = _file_below(root, module)
            if found is not None:
                return found
        for name, place in self.installed:
            if name == top:
                return _file_in_install(place, rest)
        return None

    def is_folder(self, module: str) -> bool:
        """Whether a module is a folder of the project without `__init__.py`."""
        if module.partition(".")[0] == "penstock" or not module:
            return False
        places = [root.joinpath(*module.split(".")) for root in self.roots]
        return any(place.is_dir() and any(place.glob("**/*.py")) for place in places)

    def name_of(self, file: Path) -> str:
        """The dotted name of a project's file: its path relative to its root."""
        file = file.resolve()
        for name, place in self.installed:
            if file == place or file.is_relative_to(place):
                return ".".join(part for part in (name, dotted_name(file.relative_to(place)) if file != place else "") if part)
        for root in self.roots:
            if file.is_relative_to(root):
                return dotted_name(file.relative_to(root))
        return file.stem


def label_of(module: str, file: Path) -> str:
    """How a module's file is named to people and in snapshots: its path below its root, `helpers.py`, `package/__init__.py`."""
    folders = module.split(".")
    return "/".join([*folders, "__init__.py"] if file.name == "__init__.py" else [*folders[:-1], folders[-1] + ".py"])


def dotted_name(relative: Path) -> str:
    """`package/module.py` as `package.module`."""
    parts = list(relative.with_suffix("").parts)
    return ".".join(parts[:-1] if parts and parts[-1] == "__init__" else parts)


def package_root(file: Path) -> Path:
    """The folder of a file, or the folder above its topmost package."""
    folder = file.resolve().parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def real_name(module: ModuleType) -> str | None:
    """The name by which a module is imported; None for a script that has none but `__main__`."""
    if module.__name__ != "__main__":
        return module.__name__
    spec = getattr(module, "__spec__", None)
    name: str | None = getattr(spec, "name", None)
    return None if name == "__main__" else name


def module_source_file(module: ModuleType) -> Path | None:
    """The source file of a module; None where it has none."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py") or not os.path.isfile(file):
        return None
    return Path(file).resolve()


def _root_by_name(file: Path, name: str) -> Path | None:
    """The folder from which a file is imported by that name; None where its path does not end so."""
    relative = file.with_suffix("").parts
    parts = tuple(name.split("."))
    if relative[-1] == "__init__":
        relative = relative[:-1]
    return Path(*relative[: -len(parts)]) if relative[-len(parts) :] == parts else None


def _file_below(root: Path, module: str) -> Path | None:
    place = os.path.join(root, *module.split("."))
    for candidate in (os.path.join(place, "__init__.py"), place + ".py"):
        if os.path.isfile(candidate):
            return Path(candidate)
    return None


def _file_in_install(place: Path, rest: str) -> Path | None:
    if place.is_file():
        return None if rest else place
    if rest:
        return _file_below(place, rest)
    init = place / "__init__.py"
    return init if init.is_file() else None


def is_foreign(folder: Path) -> bool:
    """Whether a folder holds the interpreter, installed distributions or Penstock."""
    if folder.name in ("site-packages", "dist-packages", "lib-dynload"):
        return True
    paths = sysconfig.get_paths()
    taken = [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    ours = [Path(place).parent.resolve() for place in sys.modules["penstock"].__path__]
    return folder in ours or any(folder.is_relative_to(place) for place in taken)


@lru_cache(maxsize=8)
def _path_roots(path: tuple[str, ...]) -> tuple[Path, ...]:
    folders = [Path(entry or os.curdir).resolve() for entry in path]
    return tuple(folder for folder in folders if folder.is_dir() and not is_foreign(folder))


@lru_cache(maxsize=8)
def _installed(path: tuple[str, ...]) -> tuple[tuple[str, Path], ...]:
    """Path and editable installs by their top-level name."""
    found: dict[str, Path] = {}
    for entry in path:
        folder = Path(entry or os.curdir)
        if folder.name not in ("site-packages", "dist-packages"):
            continue
        for note in folder.glob("*.dist-info/direct_url.json"):
            found |= _path_install(folder, note)
        for finder in folder.glob("__editable__*_finder.py"):
            found |= _finder_mapping(finder)
    found.pop("penstock", None)
    return tuple(sorted(found.items()))


def _path_install(folder: Path, note: Path) -> dict[str, Path]:
    """What a distribution that was installed from a folder holds in `folder`; an editable one is found where its sources are."""
    try:
        url = json.loads(note.read_text("utf-8"))
        record = (note.parent / "RECORD").read_text("utf-8")
    except (OSError, ValueError):
        return {}
    if not isinstance(url, dict) or not str(url.get("url", "")).startswith("file:") or "dir_info" not in url:
        return {}
    tops = {line.split("/")[0].split(",")[0] for line in record.splitlines() if line.split(",")[0].endswith(".py")}
    places = [folder / top for top in tops if not top.startswith(("__editable__", "..", "_"))]
    return {place.stem if place.suffix == ".py" else place.name: place for place in places if place.exists()}


def _finder_mapping(finder: Path) -> dict[str, Path]:
    """The `MAPPING` that an editable install wrote into its finder."""
    try:
        tree = ast.parse(finder.read_text("utf-8"))
    except (OSError, SyntaxError):
        return {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == "MAPPING" for target in targets):
            value = getattr(node, "value", None)
            mapping = ast.literal_eval(value) if value is not None else {}
            places = {name: Path(place) for name, place in mapping.items() if "." not in name}
            return {name: place if place.exists() else place.with_suffix(".py") for name, place in places.items()}
    return {}
