"""Pipelines in files of users, imported into this interpreter: Python files, modules, YAML documents."""

import importlib
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from penstock.contracts.errors import GraphError, PenstockError
from penstock.contracts.names import DOCUMENT_SUFFIXES
from penstock.contracts.spec import PipelineSpec
from penstock.contracts.states import FailureKind
from penstock.runners.failures import from_exception, hidden_folders
from penstock.runners.hints import import_hint
from penstock.sdk.context import guest_import
from penstock.sdk.drawing.drawing import Drawing
from penstock.sdk.drawing.step_component import drawn_step
from penstock.sdk.drawing.traced import Traced
from penstock.sdk.drawing.tracing import traced
from penstock.sdk.drawing.yaml_form import drawn_yaml, from_yaml, to_yaml
from penstock.sdk.identity.project import Project, package_root
from penstock.sdk.pipelines import Pipeline
from penstock.sdk.steps import Step
from penstock.sdk.types import Directory, File

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a pipeline is: in a file or a module; `pipeline` may be left out where there is one."""

    file: str | None = None
    module: str | None = None
    pipeline: str | None = None

    @property
    def document(self) -> Path | None:
        """The file, if it is a YAML document."""
        return Path(self.file).resolve() if self.file is not None and self.file.endswith(DOCUMENT_SUFFIXES) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A drawing with its spec, and the types of its parameters and (`return`) of its result as far as they are known."""

    drawing: Drawing
    spec: PipelineSpec
    hints: dict[str, Any]


def traced_entry(entry: Entry) -> Traced:
    """:raises GraphError: there is no such pipeline, or it can't be drawn; the text is for its author."""
    if entry.document is None:
        found = pipeline_of(entry)
        return _explained(found.trace, f"drawing the pipeline {found.name} failed")
    path = _on_path(entry.document)
    with guest_import(path.stem):
        return _explained(lambda: from_yaml(path), f"reading {path.name} failed")


def document_of(entry: Entry) -> str:
    """The pipeline as a YAML document that lies beside its file.

    :raises GraphError: as `traced_entry`; or it holds a constant that no document can.
    """
    if entry.document is not None:
        return entry.document.read_text("utf-8")
    found = pipeline_of(entry)
    folder = Path(entry.file).resolve().parent if entry.file is not None else Path.cwd()
    return _explained(lambda: to_yaml(found, folder), f"drawing the pipeline {found.name} failed")


def drawn_entry(entry: Entry) -> Drawn:
    """The pipeline ready to be run in this process.

    :raises GraphError: as `traced_entry`.
    """
    if entry.document is None:
        found = pipeline_of(entry)
        drawing, spec = _explained(found.draw, f"drawing the pipeline {found.name} failed")
        return Drawn(drawing=drawing, spec=spec, hints=found.hints)
    path = _on_path(entry.document)
    drawing, spec = _explained(lambda: drawn_yaml(path), f"reading {path.name} failed")
    kinds: dict[str, Any] = {"file": File, "directory": Directory}
    return Drawn(drawing=drawing, spec=spec, hints={parameter.name: kinds.get(parameter.read, Any) for parameter in spec.parameters})


def pipeline_of(entry: Entry) -> Pipeline[..., Any]:
    """Imports the file or module, never as `__main__`.

    :raises GraphError: that fails, or it holds no such pipeline.
    """
    imported, place = _imported(entry)
    return _chosen(imported, entry.pipeline, place)


def traced_component(entry: Entry) -> tuple[str, Traced]:
    """The step or pipeline that the entry names, as a component: which of both it is, and its trace.

    :raises GraphError: there is no such thing, or it can't be drawn.
    """
    if entry.document is not None:
        return "pipeline", traced_entry(entry)
    imported, place = _imported(entry)
    own: dict[str, Any] = {
        name: value
        for name, value in vars(imported).items()
        if isinstance(value, Step | Pipeline) and value.fn.__module__ == imported.__name__
    }
    named = [value for name, value in own.items() if entry.pipeline in (None, name)]
    if len(named) != 1:
        raise GraphError(f"{place}: name one step or pipeline, as {Path(place).name}:NAME; it has: {', '.join(own) or 'none'}")
    found: Step[..., Any] | Pipeline[..., Any] = named[0]
    what = f"drawing {found.name} failed"
    if isinstance(found, Pipeline):
        return "pipeline", _explained(found.trace, what)
    return "step", _explained(lambda: traced(*drawn_step(found), found.fn), what)


def traced_entries(entry: Entry) -> list[Traced]:
    """The pipeline that the entry names, else each that the file or module defines.

    :raises GraphError: as `traced_entry`.
    """
    if entry.document is not None or entry.pipeline is not None:
        return [traced_entry(entry)]
    imported, place = _imported(entry)
    own = _own(imported)
    if not own:
        raise GraphError(f"{place} holds no pipeline; decorate a function with @pipeline")
    return [_explained(found.trace, f"drawing the pipeline {found.name} failed") for found in own.values()]


def _imported(entry: Entry) -> tuple[types.ModuleType, str]:
    """The module, and what it is called in errors."""
    module = entry.module
    if entry.file is not None:
        path = Path(entry.file).resolve()
        sys.path.insert(0, str(package_root(path)))
        module = Project.of(path).name_of(path)
    else:
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  # sys.path holds text
    assert module is not None  # noqa: S101  # one of both is given
    place = entry.file or module
    with guest_import(module):
        return _explained(lambda: importlib.import_module(module), f"{place} can't be imported"), place


def _on_path(document: Path) -> Path:
    sys.path.insert(0, str(package_root(document)))
    return document


def _explained(work: Callable[[], T], what: str) -> T:
    try:
        return work()
    except PenstockError as error:
        raise GraphError(str(error)) from error
    # A module may also leave by sys.exit().
    except (Exception, SystemExit) as error:
        raise GraphError(_told(error, what)) from error


def _told(error: BaseException, what: str) -> str:
    """The user's own traceback first, then what was attempted."""
    plain = from_exception(error, FailureKind.ENVIRONMENT, hint=import_hint(error), hidden=hidden_folders())
    return "\n".join(filter(None, [plain["traceback"].rstrip(), what, plain["hint"]]))


def _own(module: types.ModuleType) -> dict[str, Pipeline[..., Any]]:
    """The pipelines that a module defines, by its own names for them; those that it imports, where it defines none."""
    found: dict[str, Pipeline[..., Any]] = {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}
    defined = {name: value for name, value in found.items() if value.fn.__module__ == module.__name__} or found
    # One that has two names is one.
    return {name: value for name, value in defined.items() if name == next(n for n, v in defined.items() if v is value)}


def _chosen(module: types.ModuleType, wanted: str | None, place: str) -> Pipeline[..., Any]:
    found: dict[str, Pipeline[..., Any]] = {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}
    if wanted is not None:
        for name, value in found.items():
            if wanted in (name, value.name):
                return value
        raise GraphError(f"{place} has no pipeline {wanted!r}; it has: {', '.join(found) or 'none'}")
    own = _own(module)
    if len(own) == 1:
        return next(iter(own.values()))
    if not own:
        raise GraphError(f"{place} holds no pipeline; decorate a function with @pipeline")
    raise GraphError(f"{place} holds several pipelines; name one: " + ", ".join(f"{Path(place).name}:{name}" for name in own))
