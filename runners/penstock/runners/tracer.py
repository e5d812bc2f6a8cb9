"""The tracer's own process: a fresh interpreter that imports a user's module, never as `__main__`, and draws a pipeline of it.

Answers over a pipe, since what the user's module prints goes where people read it.
"""

import importlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

from penstock.contracts.errors import PenstockError
from penstock.contracts.states import FailureKind
from penstock.runners.failures import from_exception, hidden_folders
from penstock.runners.hints import import_hint
from penstock.sdk.context import guest_import
from penstock.sdk.identity.project import Project, package_root
from penstock.sdk.pipelines import Pipeline


def main() -> None:
    """`python -c "..." <answer descriptor> <question in JSON>`: started by `tracing.trace` only."""
    descriptor, question = int(sys.argv[1]), json.loads(sys.argv[2])
    sys.argv[1:] = []
    # What is printed at import is for people; the answer has a pipe of its own.
    os.dup2(2, 1)
    try:
        answer = b"+" + _traced(**question)
    except _Unfit as error:
        answer = b"-" + str(error).encode("utf-8", "replace")
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(answer)


class _Unfit(Exception):
    """There is no such pipeline, or it can't be drawn; the text is for its author."""


def _traced(file: str | None, module: str | None, pipeline: str | None) -> bytes:
    imported = _imported(file, module)
    found = _chosen(imported, pipeline, file or module or "")
    try:
        return found.trace().to_bytes()
    except PenstockError as error:
        raise _Unfit(str(error)) from error
    except Exception as error:
        raise _Unfit(_told(error, f"drawing the pipeline {found.name} failed")) from error


def _imported(file: str | None, module: str | None) -> types.ModuleType:
    if file is not None:
        path = Path(file).resolve()
        sys.path.insert(0, str(package_root(path)))
        module = Project.of(path).name_of(path)
    else:
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  # sys.path holds text
    assert module is not None  # noqa: S101  # one of both is given
    try:
        with guest_import(module):
            return importlib.import_module(module)
    except PenstockError as error:
        raise _Unfit(str(error)) from error
    except BaseException as error:
        raise _Unfit(_told(error, f"{file or module} can't be imported")) from error


def _told(error: BaseException, what: str) -> str:
    """The user's own traceback first, then what was attempted."""
    plain = from_exception(error, FailureKind.ENVIRONMENT, hint=import_hint(error), hidden=hidden_folders())
    return "\n".join(filter(None, [plain["traceback"].rstrip(), what, plain["hint"]]))


def _chosen(module: types.ModuleType, wanted: str | None, place: str) -> Pipeline[..., Any]:
    found: dict[str, Pipeline[..., Any]] = {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}
    if wanted is not None:
        for name, value in found.items():
            if wanted in (name, value.name):
                return value
        raise _Unfit(f"{place} has no pipeline {wanted!r}; it has: {', '.join(found) or 'none'}")
    own = {name: value for name, value in found.items() if value.fn.__module__ == module.__name__} or found
    distinct = {id(value): (name, value) for name, value in own.items()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))[1]
    if not distinct:
        raise _Unfit(f"{place} holds no pipeline; decorate a function with @pipeline")
    raise _Unfit(f"{place} holds several pipelines; name one: " + ", ".join(f"{Path(place).name}:{name}" for name in own))
