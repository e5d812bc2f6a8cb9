"""Which modules are the project's: those below the code root, on the path outside of what is installed, and path and editable installs.

What is installed in any other way belongs to a step's environment. Penstock itself is never a project's code. Standard library alone.
"""

import ast
import json
import os
import stat
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import cast

NOTEBOOK_MODULE = "notebook_cells"
"""What guests import instead of a notebook's `__main__`."""
_SCRIPTS = ("__main__", "__mp_main__")


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
        file = module_source_file(module) if isinstance(module, ModuleType) else _absolute(module)
        name = real_name(module) if isinstance(module, ModuleType) else None
        if file is None:
            return cls._with([Path.cwd()], {})
        root = None if name is None else _root_by_name(file, name)
        if root is None or name is None:
            # A file in a package that was started as a script sees its neighbours by their bare names.
            return cls._with([package_root(file), file.parent], {})
        if not is_foreign(root):
            return cls._with([root], {})
        # A step of a library: of what is installed beside it, nothing else is the project's.
        top = name.partition(".")[0]
        return cls._with([], {top: root / top if (root / top).is_dir() else root / f"{top}.py"})

    @classmethod
    def _with(cls, roots: list[Path], installed: dict[str, Path]) -> "Project":
        path = _path()
        found = [*roots, *_path_roots(path)] or [Path.cwd()]
        return cls(tuple(dict.fromkeys(found)), tuple(sorted({**dict(_installed(path)), **installed}.items())))

    def module_name(self, module: ModuleType) -> str:
        """The name by which guests import a module: its own, or for a script that of its file."""
        file, name = module_source_file(module), real_name(module)
        if name is not None and (file is None or _root_by_name(file, name) is not None):
            return name
        return module.__name__ if file is None else self.name_of(file)

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

    def modules_below(self, package: str) -> list[str]:
        """The modules right below a package or folder of the project."""
        init = self.file_of(package)
        folders = [root.joinpath(*package.split(".")) for root in self.roots] if init is None else [init.parent]
        names = {file.stem for folder in folders for file in folder.glob("*.py") if file.stem not in ("__init__", "__main__")}
        names |= {file.parent.name for folder in folders for file in folder.glob("*/__init__.py")}
        return [f"{package}.{name}" for name in sorted(names)]

    def is_folder(self, module: str) -> bool:
        """Whether a module is a folder of the project without `__init__.py`. What is imported from elsewhere goes before such a folder."""
        top = module.partition(".")[0]
        if top in ("", "penstock") or not any(root.joinpath(*module.split(".")).is_dir() for root in self.roots):
            return False
        try:
            spec = find_spec(top)
        except (ImportError, ValueError):
            spec = None
        return spec is None or spec.origin is None

    def name_of(self, file: Path) -> str:
        """The dotted name of a project's file: its path relative to its root."""
        file = _absolute(file)
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
    folder = _absolute(file).parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def real_name(module: ModuleType) -> str | None:
    """The name by which a module is imported; None for a script that has none but `__main__`."""
    if module.__name__ not in _SCRIPTS:
        return module.__name__
    name: str | None = getattr(getattr(module, "__spec__", None), "name", None)
    return None if name in _SCRIPTS else name


def module_source_file(module: ModuleType) -> Path | None:
    """The source file of a module; None where it has none."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py") or not Path(file).is_file():
        return None
    return _absolute(Path(file))


def _absolute(path: Path) -> Path:
    """Without dots, but with links as they are: a link to a module is a module of the link's name."""
    return Path(os.path.normpath(path.absolute()))


def belongs_to_project(module: ModuleType) -> bool:
    """Whether a module's code is a project's: it is neither Penstock nor installed, or was installed from a folder."""
    file, name = module_source_file(module), real_name(module)
    if file is None:
        return False
    root = None if name is None else _root_by_name(file, name)
    if root is None or name is None:
        return True
    return not is_foreign(root) or name.partition(".")[0] in dict(_installed(_path()))


def _root_by_name(file: Path, name: str) -> Path | None:
    """The folder from which a file is imported by that name; None where its path does not end so."""
    relative = file.with_suffix("").parts
    parts = tuple(name.split("."))
    if relative[-1] == "__init__":
        relative = relative[:-1]
    return Path(*relative[: -len(parts)]) if relative[-len(parts) :] == parts else None


def _file_below(root: Path, module: str) -> Path | None:
    # As text: paths are made ten times as often as one is there.
    place = f"{root}/{module.replace('.', '/')}"
    for candidate in (f"{place}/__init__.py", f"{place}.py"):
        if _is_file(candidate):
            return Path(candidate)
    return None


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 – see above
    except (OSError, ValueError):
        return False


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
    folder = folder.resolve()
    paths = sysconfig.get_paths()
    taken = [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    ours = [Path(place).parent.resolve() for place in sys.modules["penstock"].__path__]
    return folder in ours or any(folder.is_relative_to(place) for place in taken)


def _path() -> tuple[str, ...]:
    # In full: what is remembered of it must not depend on where the process was then.
    return tuple(str(_absolute(Path(entry))) for entry in sys.path)


@lru_cache(maxsize=8)
def _path_roots(path: tuple[str, ...]) -> tuple[Path, ...]:
    folders = [Path(entry) for entry in path]
    return tuple(folder for folder in folders if folder.is_dir() and not is_foreign(folder))


@lru_cache(maxsize=8)
def _installed(path: tuple[str, ...]) -> tuple[tuple[str, Path], ...]:
    """Path and editable installs by their top-level name."""
    found: dict[str, Path] = {}
    for entry in path:
        folder = Path(entry)
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
        origin = cast("object", json.loads(note.read_text("utf-8")))
        record = (note.parent / "RECORD").read_text("utf-8")
    except (OSError, ValueError):
        return {}
    if not isinstance(origin, dict) or "dir_info" not in origin:
        # Not from a folder: it came from an index, an archive or a repository.
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
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="MAPPING")], value=value)
                | ast.AnnAssign(target=ast.Name(id="MAPPING"), value=ast.expr() as value)
            ):
                mapping = cast("dict[str, str]", ast.literal_eval(value))
                places = {name: Path(place) for name, place in mapping.items() if "." not in name}
                return {name: place if place.exists() else place.with_suffix(".py") for name, place in places.items()}
            case _:
                continue
    return {}
