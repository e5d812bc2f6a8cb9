"""Scripts and programs as steps, untouched: their arguments say what they read and write."""

import ast
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Unpack, cast

from typing_extensions import override

from penstock.contracts.bindings import FromNode
from penstock.contracts.errors import GraphError, InvalidInput
from penstock.contracts.names import PYTHON
from penstock.contracts.spec import CommandArgument, CommandTarget, OutputSpec
from penstock.sdk.drawing.annotations import kind_of, text_of
from penstock.sdk.drawing.calls import Call, draw_call
from penstock.sdk.drawing.drawing import Drawing, needed_drawing
from penstock.sdk.drawing.handles import Handle, Source, handles_in
from penstock.sdk.drawing.places import user_place
from penstock.sdk.identity.snapshot import script_snapshot
from penstock.sdk.options import StepOptions, checked_options
from penstock.sdk.types import Directory, File, Output, PathText

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Program:
    """`files` by path in the folder `source`, which is `folder` in the snapshot; `imports` what its Python files import."""

    name: str
    source: Path | None
    folder: str | None
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    imports: frozenset[str] = frozenset()


class CommandStep:
    """A program as a step: a list of arguments, never a shell string. Handles in it are inputs, `Output`s are written by it."""

    def __init__(self, command: list[Any], *, source_directory: PathText | None = None, **options: Unpack[StepOptions]) -> None:
        drawing = needed_drawing(type(self).__name__)
        checked_options(options, StepOptions, f"{user_place()}: {type(self).__name__}(...)")
        if not command or isinstance(command, str):
            raise GraphError(f"{user_place()}: a command is a list of arguments, such as ['prog', '--in', data], not {command!r}")
        name = options.get("name") or _name_of(command)
        self._outputs: dict[str, Output[Any]] = {}
        self._handle = self._drawn(drawing, name, command, source_directory, options)

    def _drawn(self, drawing: Drawing, name: str, command: list[Any], folder: PathText | None, options: StepOptions) -> Handle:
        source = _source_directory(command, folder)
        program = program_of(name, source)
        inputs: dict[str, object] = {}
        arguments = tuple(self._argument(command, i, source, inputs) for i in range(len(command)))
        outputs = tuple(
            OutputSpec(name=output.name, type=text_of(output.type), kind=kind_of(output.type), path=output.path)
            for output in self._outputs.values()
        )
        call = Call(
            name=name,
            maker=program,
            target=CommandTarget(command=arguments, workdir=program.folder),
            arguments=inputs,
            hints={key: _annotation(value) for key, value in inputs.items()},
            result=Any,
            options=options,
            outputs=outputs,
        )
        return draw_call(drawing, call)

    def _argument(self, command: list[Any], position: int, source: Path | None, inputs: dict[str, object]) -> CommandArgument:
        value = command[position]
        if isinstance(value, Output):
            output = cast("Output[object]", value)
            if self._outputs.setdefault(output.name, output) is not output:
                raise GraphError(f"{user_place()}: two outputs are named {output.name!r}")
            return CommandArgument(output=output.name)
        if isinstance(value, File | Directory) or handles_in(value):
            name = _input_name(command, position, inputs)
            inputs[name] = value
            return CommandArgument(input=name)
        if not isinstance(value, str | int | float | Path):
            raise GraphError(f"{user_place()}: an argument is text, a number, a result of a step or an Output, not {value!r}")
        return CommandArgument(text=_text(str(value), position, source))

    def __getitem__(self, output: Output[T]) -> T:
        """What the program wrote there: `fit[model]`."""
        found = self._outputs.get(output.name)
        if found is not output:
            known = ", ".join(self._outputs) or "none"
            raise GraphError(f"{user_place()}: {output!r} is not among the arguments of this command (its outputs: {known})")
        source = self._handle.__penstock__
        node = source.node or ""
        return cast(
            T,
            Handle(
                Source(
                    label=f"{node}[{output.name}]",
                    annotation=output.type,
                    bind=lambda: FromNode(node=node, output=output.name),
                    openings=source.openings,
                    node=node,
                )
            ),
        )

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._handle.__penstock__.label}>"


class ScriptStep(CommandStep):
    """A Python script as a step; its folder is its code."""

    def __init__(
        self,
        script: PathText,
        *,
        source_directory: PathText | None = None,
        arguments: list[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> None:
        folder = Path(script).parent if source_directory is None else Path(source_directory)
        inside = Path(script).name if source_directory is None else Path(script).as_posix()
        if not (folder / inside).is_file():
            raise GraphError(f"{user_place()}: there is no script {inside!r} in {folder}")
        if "name" not in options:
            options = {**options, "name": _safe(Path(script).stem)}
        super().__init__([PYTHON, inside, *(arguments or [])], source_directory=folder, **options)


def program_of(name: str, source: Path | None) -> Program:
    """A program whose code is the folder `source`; None: it has no code of the user's.

    :raises GraphError: a Python file in it can't be read.
    """
    if source is None:
        return Program(name, None, None)
    files = script_snapshot(source)
    return Program(name, source, f"scripts/{source.name}", files, _imports_of(files))


def _annotation(value: object) -> Any:
    source = value.__penstock__ if isinstance(value, Handle) else None
    return type(value) if source is None else source.annotation


def _source_directory(command: list[Any], declared: PathText | None) -> Path | None:
    """The folder of a command's code: as declared, or that of a script named by its path among the arguments."""
    if declared is not None:
        folder = Path(declared).absolute()
        if not folder.is_dir():
            raise InvalidInput(f"source_directory={str(declared)!r} is not a folder")
        return folder
    found = {path.parent for value in command[1:] if (path := _script(value)) is not None}
    return found.pop().absolute() if len(found) == 1 else None


def _script(value: object) -> Path | None:
    if not isinstance(value, str | Path) or handles_in(value):
        return None
    path = Path(value)
    return path if path.suffix in (".py", ".sh", ".R", ".jl") and path.is_file() else None


def _text(text: str, position: int, source: Path | None) -> str:
    """An argument without what only this machine knows: its interpreter, the place of the code."""
    if position == 0 and text == sys.executable:
        return PYTHON
    if source is not None and Path(text).is_absolute() and Path(text).is_relative_to(source):
        return Path(text).relative_to(source).as_posix()
    return text


def _input_name(command: list[Any], position: int, inputs: dict[str, object]) -> str:
    """After the flag before it: `--data-dir` is `data_dir`; else by position."""
    before = command[position - 1] if position else None
    flag = re.fullmatch(r"--?([A-Za-z][\w-]*)", before) if isinstance(before, str) else None
    name = flag[1].replace("-", "_") if flag else f"argument_{position}"
    return name if name not in inputs else f"{name}_{position}"


def _name_of(command: list[Any]) -> str:
    for value in command:
        if isinstance(value, str | Path) and not handles_in(value) and str(value) not in (sys.executable, PYTHON):
            return _safe(Path(value).stem)
    return "command"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "command"


def _imports_of(files: dict[str, Path]) -> frozenset[str]:
    """The top-level modules that Python files import, but for those that are among the files themselves."""
    found: set[str] = set()
    for path, file in files.items():
        if not path.endswith(".py"):
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except SyntaxError as error:
            raise GraphError(f"{file}:{error.lineno}: {error.msg}") from error
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return frozenset(found - {path.partition("/")[0].removesuffix(".py") for path in files})
