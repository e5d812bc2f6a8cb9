"""The project's modules that are loaded: whatever a pipeline's body may have looked at while it was drawn."""

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.sdk.identity.project import Project, module_source_file

_INSTALLED = ("site-packages", "dist-packages")


def project_modules(function: Callable[..., Any]) -> set[Path]:
    """The files of the loaded modules of the project that a function belongs to, its own among them."""
    home = sys.modules.get(function.__module__)
    own = inspect.getsourcefile(function)
    if home is None or own is None or not Path(own).is_file():
        return set()
    project = Project.of(home)
    found = {Path(own).resolve()}
    roots = tuple(f"{root}{os.sep}" for root in project.roots)
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or name.startswith("penstock.") or any(part in path for part in _INSTALLED):
            continue
        # A thousand modules are loaded beside a handful of the project's: most are told apart by their text alone.
        if _is_plain(path) and not path.startswith(roots):
            continue
        file = module_source_file(module)
        if file is not None and any(file.is_relative_to(root) for root in project.roots) and project.file_of(name) == file:
            found.add(file)
    return found


def _is_plain(path: str) -> bool:
    """Whether a path's text says where it leads: absolute, and without dots on its way."""
    return path.startswith(os.sep) and f"{os.sep}./" not in path and f"{os.sep}../" not in path and "//" not in path
