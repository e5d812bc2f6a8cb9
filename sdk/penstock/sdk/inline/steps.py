"""One step executed in this process: its function, or its program, in an empty working directory."""

import asyncio
import contextlib
import dataclasses
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from penstock.contracts.errors import UserCodeError
from penstock.contracts.names import PYTHON
from penstock.contracts.spec import CommandArgument, CommandTarget, OutputSpec
from penstock.sdk.drawing.annotations import is_named_tuple
from penstock.sdk.inline.values import Outputs
from penstock.sdk.scripts import Program
from penstock.sdk.types import Directory, File


def called(function: Callable[..., Any], inputs: Mapping[str, Any], workdir: Path) -> Any:
    """What the function gives; relative files in it are those of its working directory."""
    with contextlib.chdir(workdir):
        result = function(**inputs)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
    return _absolute(result, workdir)


def executed(program: Program, target: CommandTarget, outputs: tuple[OutputSpec, ...], inputs: Mapping[str, Any], workdir: Path) -> Outputs:
    """What the program wrote.

    :raises UserCodeError: it ended with another status than 0, or an output is not there.
    """
    for path, file in program.files.items():
        place = workdir / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    places = {output.name: workdir / (output.path or output.name) for output in outputs}
    for output in outputs:
        folder = places[output.name] if output.kind == "directory" else places[output.name].parent
        folder.mkdir(parents=True, exist_ok=True)
    command = [text for argument in target.command for text in _argument(argument, inputs, places)]
    if command[0] == PYTHON:
        command[0] = sys.executable
    status = subprocess.run(command, cwd=workdir, check=False).returncode
    if status != 0:
        raise UserCodeError(f"{program.name} ended with exit status {status}")
    for output in outputs:
        if not places[output.name].exists():
            raise UserCodeError(f"{program.name} did not write its output {output.name!r} ({places[output.name]})")
    return Outputs({output.name: _written(output, places[output.name]) for output in outputs})


def _argument(argument: CommandArgument, inputs: Mapping[str, Any], places: Mapping[str, Path]) -> list[str]:
    if argument.parts:
        return ["".join(" ".join(_argument(part, inputs, places)) for part in argument.parts)]
    if argument.input is not None:
        value = inputs[argument.input]
        return [_text(item) for item in cast(Sequence[object], value)] if isinstance(value, list | tuple) else [_text(value)]
    if argument.output is not None:
        return [str(places[argument.output])]
    return [argument.text or ""]


def _text(value: object) -> str:
    if isinstance(value, File | Directory | Path):
        return os.fspath(value)
    if isinstance(value, str):
        return value
    return json.dumps(value)


def _written(output: OutputSpec, place: Path) -> File | Directory:
    return Directory(place) if output.kind == "directory" else File(place)


def _absolute(value: Any, workdir: Path) -> Any:
    kind: Any = value.__class__
    if kind in (File, Directory):
        return value if value.is_remote or value.path.is_absolute() else kind(workdir / value.path)
    if kind in (list, tuple) or is_named_tuple(kind):
        items = [_absolute(item, workdir) for item in value]
        build = cast(Callable[..., Any], kind)
        return build(*items) if is_named_tuple(kind) else build(items)
    if kind is dict:
        return {key: _absolute(item, workdir) for key, item in value.items()}
    return _absolute_fields(value, workdir) if dataclasses.is_dataclass(kind) else value


def _absolute_fields(value: Any, workdir: Path) -> Any:
    changed = {
        field.name: _absolute(getattr(value, field.name), workdir)
        for field in dataclasses.fields(value)
        if field.init and isinstance(getattr(value, field.name), File | Directory)
    }
    return dataclasses.replace(value, **changed) if changed else value
