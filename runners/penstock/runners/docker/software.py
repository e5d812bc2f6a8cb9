"""Penstock itself for images that do not have it: its light parts and what they import, in one folder that containers read."""

import hashlib
import importlib.util
import os
import shutil
import sys
import threading
from pathlib import Path

_PARTS = ("penstock.contracts", "penstock.runners", "penstock.sdk", "penstock.transport")
_MODULES = ("annotated_types", "msgpack", "packaging", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection")

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Of this interpreter: compiled code among the modules is for it."""


def software_folder(state: Path) -> Path:
    """The folder, made once for what is installed at this moment."""
    places = {name: _place(name) for name in (*_PARTS, *_MODULES)}
    target = state / "software" / _digest(places)
    if not target.is_dir():
        fresh = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
        for name, place in places.items():
            _copy(place, fresh.joinpath(*name.split(".")))
        try:
            fresh.rename(target)
        except OSError:
            # Somebody was faster with the same files.
            shutil.rmtree(fresh, ignore_errors=True)
    return target


def _place(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"{name} is not installed", name=name)
    return Path(spec.submodule_search_locations[0]) if spec.submodule_search_locations else Path(spec.origin or "")


def _copy(place: Path, target: Path) -> None:
    """With the times of files, by which compiled code is known to be current."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        shutil.copytree(place, target)
    else:
        shutil.copy2(place, target.with_name(place.name))


def _digest(places: dict[str, Path]) -> str:
    found = hashlib.sha256()
    for name, place in places.items():
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            status = file.stat()
            found.update(f"{name} {file.relative_to(place)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return found.hexdigest()[:32]
