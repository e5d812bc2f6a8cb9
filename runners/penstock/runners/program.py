"""A step that is a program: its arguments are filled in, it runs in a folder of its own, what it wrote is collected."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, cast

from penstock.contracts.artifacts import JSON, ArtifactRef, Value
from penstock.contracts.names import PYTHON
from penstock.contracts.states import FailureKind
from penstock.runners.failures import AttemptFailed, failure, from_signal
from penstock.sdk.types import Directory, File
from penstock.sdk.values.codecs import decode

Local = Callable[[ArtifactRef], Path]


@dataclass(frozen=True, slots=True)
class PreparedProgram:
    """`arguments` are the whole command; `places` where each output shall be written."""

    arguments: list[str]
    places: dict[str, Path]


def run_program(order: Mapping[str, Any], inputs: Mapping[str, Value], local: Local) -> dict[str, Any]:
    """Runs it in the current, empty directory; the answer maps each output's name to what was written.

    :raises AttemptFailed: it can't be started, its exit status is not 0, or an output was not written.
    """
    prepared = prepare_program(order, inputs, local)
    _ended_well(prepared.arguments)
    return {output["name"]: written(output, prepared.places[output["name"]]) for output in order["outputs"]}


def prepare_program(order: Mapping[str, Any], inputs: Mapping[str, Value], local: Local) -> PreparedProgram:
    """Fills the current, empty directory with the program's files, and the command with the paths and texts of its inputs."""
    copy_program(order["snapshot"], order["folder"], Path.cwd())
    places = {output["name"]: place_of(output, Path.cwd()) for output in order["outputs"]}
    folder = Path(order["staging"]) / "inputs"
    folder.mkdir()
    texts = {name: input_texts(name, value, local, folder) for name, value in inputs.items()}
    return PreparedProgram(filled(order["command"], texts, places, sys.executable), places)


def copy_program(snapshot: str, folder: str | None, target: Path) -> None:
    """Puts the program's own files, where it has some, into `target`."""
    if folder is not None:
        shutil.copytree(Path(snapshot) / folder, target, dirs_exist_ok=True, copy_function=_writable_copy)


def filled(command: Sequence[Mapping[str, Any]], texts: Mapping[str, list[str]], places: Mapping[str, PurePath], python: str) -> list[str]:
    """The arguments of a command, with the texts of its inputs and the places of its outputs in them."""
    arguments = [text for argument in command for text in _argument(argument, texts, places)]
    return [python, *arguments[1:]] if arguments[0] == PYTHON else arguments


def _writable_copy(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    os.chmod(target, 0o755 if os.access(source, os.X_OK) else 0o644)  # noqa: PTH101  # copytree hands over text


def place_of(output: Mapping[str, Any], folder: Path) -> Path:
    """Where the program that runs in `folder` shall write an output; a directory is there before it starts."""
    place = folder / (output["path"] or f"outputs/{output['name']}")
    (place if output["kind"] == "directory" else place.parent).mkdir(parents=True, exist_ok=True)
    return place


def input_texts(name: str, value: Value, local: Local, folder: Path) -> list[str]:
    """An input as it stands among the arguments: a path, or the text of a plain value; a list is several."""
    if isinstance(value, ArtifactRef) and value.kind == "directory":
        return [os.fspath(decode(value, Directory, local, parameter=name, workdir=folder))]
    if isinstance(value, ArtifactRef) and value.kind == "blob" and (value.media_type != JSON or value.suffix):
        return [os.fspath(decode(value, File, local, parameter=name, workdir=folder))]
    plain: object = decode(value, Any, local, parameter=name, workdir=folder)
    return [_text(item) for item in cast(Sequence[object], plain)] if isinstance(plain, list | tuple) else [_text(plain)]


def _text(plain: object) -> str:
    match plain:
        case str():
            return plain
        case File() | Directory() | Path():
            return os.fspath(plain)
        case _:
            return json.dumps(plain)


def _argument(argument: Mapping[str, Any], texts: Mapping[str, list[str]], places: Mapping[str, PurePath]) -> list[str]:
    if argument["parts"]:
        return ["".join(" ".join(_argument(part, texts, places)) for part in argument["parts"])]
    if argument["input"] is not None:
        return texts[argument["input"]]
    if argument["output"] is not None:
        return [str(places[argument["output"]])]
    return [argument["text"] or ""]


def _ended_well(arguments: list[str]) -> None:
    try:
        status = subprocess.run(arguments, check=False, stdin=subprocess.DEVNULL).returncode
    except OSError as error:
        hint = f"is {arguments[0]!r} installed where the step runs?"
        told = failure(FailureKind.ENVIRONMENT, f"{arguments[0]!r} can't be started: {error.strerror}", hint=hint)
        raise AttemptFailed(told) from error
    if status < 0:
        raise AttemptFailed(from_signal(-status))
    if status:
        message = f"{Path(arguments[0]).name} ended with exit status {status}"
        raise AttemptFailed(failure(FailureKind.ERROR, message, hint="its log says why"))


def written(output: Mapping[str, Any], place: Path) -> Any:
    """What the program wrote as an output: a file, a folder, or a value as JSON or text.

    :raises AttemptFailed: it wrote nothing there.
    """
    name, kind = output["name"], output["kind"]
    if not place.exists() or (kind == "directory" and not any(place.iterdir())):
        told = failure(FailureKind.OUTPUT, f"the output {name!r} was not written", hint=f"the program gets its path: {place.name}")
        raise AttemptFailed(told)
    if kind == "directory":
        return Directory(place)
    if kind == "file":
        return File(place)
    text = place.read_text()
    try:
        return json.loads(text)
    except ValueError:
        return text
