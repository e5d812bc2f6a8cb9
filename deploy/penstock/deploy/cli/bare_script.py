"""A plain script as a pipeline of one cached step: arguments that name files are its inputs, new files its output.

The script runs in a folder that holds the Python files beside it and nothing else; other files reach it as arguments.
"""

import ast
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.bindings import FromNode, FromParameter
from penstock.contracts.errors import GraphError, InvalidInput
from penstock.contracts.names import DOCUMENT_SUFFIXES, PYTHON, dashed
from penstock.contracts.spec import CommandArgument, CommandTarget, OutputSpec, ParameterSpec, PipelineSpec, StepSpec
from penstock.sdk.client import EngineClient
from penstock.sdk.drawing.traced import Traced

FILES = "files"
_FOLDER = "scripts/main"
_NOTHING = ".nothing"
"""Stands in a directory artifact for no files, which can't be one."""
# Runs the script as its own program would, then moves what is new in the folder to where outputs are collected.
_LAUNCHER = f"""
import os, runpy, shutil, sys
out, script = sys.argv[1:3]
def files():
    found = {{}}
    for folder, folders, names in os.walk("."):
        folders[:] = [f for f in folders if f != "__pycache__" and os.path.abspath(os.path.join(folder, f)) != os.path.abspath(out)]
        for name in names:
            path = os.path.join(folder, name)
            found[path] = (os.stat(path).st_mtime_ns, os.stat(path).st_size)
    return found
before = files()
sys.argv[:] = sys.argv[2:]
sys.path[0] = os.getcwd()
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as end:
    if end.code not in (None, 0):
        raise
for path, stamp in files().items():
    if before.get(path) != stamp:
        os.makedirs(os.path.dirname(os.path.join(out, path)), exist_ok=True)
        shutil.move(path, os.path.join(out, path))
if not os.listdir(out):
    open(os.path.join(out, "{_NOTHING}"), "w").close()
"""


def is_script(path: Path) -> bool:
    """Whether a Python file holds no pipeline: nothing in it is decorated with `pipeline`. A file that can't be parsed is none."""
    if path.suffix in DOCUMENT_SUFFIXES:
        return False
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return False
    # A pipeline may also be imported and run from here; then the file is no plain script either.
    return not any(_speaks_of_pipelines(node) for node in ast.walk(tree))


def traced_script(script: Path, arguments: Sequence[str], home: Path) -> tuple[Traced, dict[str, Path]]:
    """The pipeline of one step, and the files that its parameters stand for. What lies in `home`, the state folder, is no code.

    :raises GraphError: a Python file beside the script can't be parsed.
    """
    # Every run asks whether its file is a script; only those that are pay for this.
    from penstock.sdk.identity.environment import environment_of  # noqa: PLC0415
    from penstock.sdk.identity.snapshot import script_identity, script_snapshot  # noqa: PLC0415

    beside = script_snapshot(script.parent)
    files = {path: file for path, file in beside.items() if path.endswith(".py") and not file.absolute().is_relative_to(home)}
    inputs = {f"argument_{i}": Path(text) for i, text in enumerate(arguments) if Path(text).is_file()}
    given: list[CommandArgument] = []
    for i, text in enumerate(arguments):
        given.append(CommandArgument(input=f"argument_{i}") if f"argument_{i}" in inputs else CommandArgument(text=text))
    name = dashed(script.stem)
    launched = [CommandArgument(text=PYTHON), CommandArgument(text="-c"), CommandArgument(text=_LAUNCHER)]
    step = StepSpec(
        name=name,
        run=CommandTarget(command=(*launched, CommandArgument(output=FILES), CommandArgument(text=script.name), *given), workdir=_FOLDER),
        inputs={key: FromParameter(parameter=key) for key in inputs},
        types=dict.fromkeys(inputs, "File"),
        outputs=(OutputSpec(name=FILES, type="Directory", kind="directory"),),
        code=script_identity(files),
        environment=environment_of(_imports(files)),
    )
    spec = PipelineSpec(
        name=name,
        parameters=tuple(ParameterSpec(name=key, type="File", read="file") for key in inputs),
        nodes=(step,),
        outputs={FILES: FromNode(node=name, output=FILES)},
        output_types={FILES: "Directory"},
    )
    return Traced(spec=spec, files={f"{_FOLDER}/{path}": str(file) for path, file in files.items()}), inputs


def put_back(client: EngineClient, files: ArtifactRef, folder: Path) -> list[Path]:
    """Copies the files that the script made into `folder`, over those of the same name.

    :raises InvalidInput: one can't be written there.
    """
    source = client.local(files)
    written: list[Path] = []
    try:
        for path in sorted(source.rglob("*")):
            inside = path.relative_to(source)
            if path.is_dir() or inside == Path(_NOTHING):
                continue
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / inside)
            written.append(inside)
    except OSError as error:
        raise InvalidInput(f"can't put {source.name} back into {folder}: {error}") from error
    return written


def _speaks_of_pipelines(node: ast.AST) -> bool:
    match node:
        case ast.ImportFrom(module=module):
            return module is not None and module.partition(".")[0] == "penstock"
        case ast.Import(names=names):
            return any(alias.name.partition(".")[0] == "penstock" for alias in names)
        case _:
            return False


def _imports(files: dict[str, Path]) -> frozenset[str]:
    own = {path.partition("/")[0].removesuffix(".py") for path in files}
    found: set[str] = set()
    for file in files.values():
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError) as error:
            raise GraphError(f"{file} is no Python {sys.version_info.major} file: {error}") from error
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return frozenset(found - own)
