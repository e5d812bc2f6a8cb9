"""The definition closure of a function step: all code of the project that the function can reach, as an identity."""

import ast
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

from penstock.contracts.encoding import digest_of
from penstock.contracts.errors import ContractError, GraphError
from penstock.contracts.spec import Identity
from penstock.sdk.identity.definitions import Definition, definition_in, names_bound_inside
from penstock.sdk.identity.module_syntax import Code
from penstock.sdk.identity.notebook import notebook_of
from penstock.sdk.identity.project import NOTEBOOK_MODULE, Project, module_source_file
from penstock.sdk.identity.reach import Reach
from penstock.sdk.identity.reached_module import Module
from penstock.sdk.identity.syntax_encoding import NEUTRAL_NAME, syntax_digest

# The parser gives up at some 3,000 levels, and each takes up to four calls here.
_RECURSION_LIMIT = 20_000


@dataclass(frozen=True)
class Closure:
    """`module` and `function` name the function in a snapshot, which must hold `modules`: dotted name to file.

    `imports` are the top-level names of modules that are neither the project's nor the standard library's. `environ` maps the
    variables that the code reads by a literal name to the place, `helpers.py:12`.
    """

    identity: Identity
    module: str
    function: str
    modules: dict[str, Path]
    imports: frozenset[str]
    environ: dict[str, str]
    notes: tuple[str, ...]
    declared_files: tuple[str, ...] = ()


def closure_of(function: Callable[..., object], *, declared_files: Sequence[str] = ()) -> Closure:
    """The closure of a step's function, as its source is now.

    :raises GraphError: its source can't be found or read, or it holds on to values that can't be part of an identity.
    """
    with _deep_syntax():
        return _closure(_plain_function(function), declared_files)


_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def _deep_syntax() -> Generator[None]:
    """Room for syntax as deep as the parser takes it: a sum of a thousand terms is a thousand nodes deep. One thread at a time."""
    with _ONE_AT_A_TIME:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(max(before, _RECURSION_LIMIT))
        try:
            yield
        finally:
            sys.setrecursionlimit(before)


def _closure(plain: FunctionType, declared_files: Sequence[str]) -> Closure:
    try:
        reach, module = _home(plain)
        node = definition_in(module.syntax.tree, plain)
        own = _own_code(module, node)
        reach.add(module, own)
        held = {name: _held_value(reach, module, plain, name, value) for name, value in _cells(plain).items()}
        components = reach.components()
    except SyntaxError as error:
        raise GraphError(f"{error.filename}:{error.lineno}: {error.msg}") from error
    label = f"{module.label}::{plain.__qualname__}"
    # Another name for the same code is the same code, so the function's own label is not in the digest.
    components.pop(label, None)
    own_digest = _own_digest(own, node, held)
    notes = tuple(dict.fromkeys(reach.notes))
    return Closure(
        identity=Identity(
            digest=digest_of([own_digest, sorted(components.items())]),
            components={label: own_digest, **dict(sorted(components.items()))},
            notes=notes,
        ),
        module=module.syntax.name,
        function=plain.__qualname__,
        modules={name: found.file for name, found in sorted(reach.modules.items())},
        imports=frozenset(reach.imports),
        environ=dict(sorted(reach.environ.items())),
        notes=notes,
        declared_files=tuple(declared_files),
    )


def _plain_function(function: Callable[..., object]) -> FunctionType:
    """The function as written, without what decorators have put around it."""
    found: object = function
    while isinstance(found, functools.partial):
        raise GraphError(f"a step can't be a partial of {found.func!r}; write a function, or pass the values as parameters")
    found = inspect.unwrap(function)
    found = getattr(found, "__func__", found)
    if not isinstance(found, FunctionType):
        raise GraphError(f"{function!r} is a {type(function).__name__}, not a function written in Python; wrap it in one")
    return found


def _home(function: FunctionType) -> tuple[Reach, Module]:
    """The module that holds a function, in a new reach."""
    home = sys.modules.get(function.__module__)
    file = module_source_file(home) if home is not None else None
    if home is not None and file is not None and Path(function.__code__.co_filename).name == file.name:
        project = Project.of(home)
        name = project.module_name(home)
    elif function.__code__.co_filename.endswith(".py") and Path(function.__code__.co_filename).is_file() and not _is_cell(function):
        file = Path(function.__code__.co_filename)
        project = Project.of(file)
        name = project.name_of(file)
    else:
        reach = Reach(Project.of(Path.cwd() / f"{NOTEBOOK_MODULE}.py"))
        return reach, reach.adopt(*notebook_of(function))
    reach = Reach(project)
    module = reach.module(name)
    if module is None:
        raise GraphError(f"{file}: the module {name} of the step {function.__qualname__} is not found below {project.root}")
    return reach, module


def _is_cell(function: FunctionType) -> bool:
    """Whether a function was written in a cell: some kernels give cells the names of temporary files."""
    return function.__module__ == "__main__" and "_ih" in function.__globals__


def _own_code(module: Module, node: Definition) -> Code:
    """A step's code: what stands at the top level and holds its function."""
    codes = [*module.syntax.definitions.values(), *module.syntax.statements]
    for code in codes:
        if any(_holds(statement, node) for statement in code.nodes):
            return code
    raise GraphError(f"{module.label}:{node.lineno}: a step is defined where no guest comes by; move it out of this block")


def _holds(statement: ast.stmt, node: Definition) -> bool:
    last = statement.end_lineno or statement.lineno
    if not statement.lineno <= node.lineno <= last:
        return False
    place = (type(node), node.lineno, node.col_offset)
    return any((type(part), part.lineno, part.col_offset) == place for part in ast.walk(statement) if isinstance(part, Definition))


def _own_digest(own: Code, node: Definition, held: Mapping[str, str]) -> str:
    parts: list[object] = [sorted(held.items())] if held else []
    if isinstance(node, ast.Lambda):
        # Several lambdas may stand in one statement.
        return digest_of([syntax_digest(node), own.digest, *parts])
    # Where a name inside is spelled as the function is, it may be another thing.
    renamed = {} if node.name in names_bound_inside(node) else {node.name: NEUTRAL_NAME}
    neutral = syntax_digest(*own.nodes, renamed=renamed, neutral=node)
    return digest_of([neutral, *parts]) if parts else neutral


def _cells(function: FunctionType) -> dict[str, object]:
    """The values that a function holds on to from the functions around it."""
    found: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            # Not assigned yet: the function itself, or one that is defined after it. Its source is in the digest.
            continue
    return found


def _held_value(reach: Reach, module: Module, function: FunctionType, name: str, value: object) -> str:
    """The digest of a value from an outer function: plain data as it is, functions and classes by their code."""
    value = getattr(value, "fn", value)
    if value is function:
        return "itself"
    if callable(value) and isinstance(getattr(value, "__qualname__", None), str):
        inner: object = inspect.unwrap(value)
        if isinstance(inner, FunctionType) and inner.__module__ == function.__module__:
            return syntax_digest(definition_in(module.syntax.tree, inner)) + digest_of(
                {held: _held_value(reach, module, inner, held, part) for held, part in _cells(inner).items() if part is not inner}
            )
        if isinstance(inner, FunctionType | type):
            home = reach.module(inner.__module__)
            if home is not None:
                reach.add_name(home, (inner.__qualname__.partition(".")[0],))
            return f"{inner.__module__}:{inner.__qualname__}"
    try:
        return digest_of(value)
    except ContractError as error:
        raise GraphError(
            f"the step {function.__qualname__} holds on to {name}, a {type(value).__name__}, from the function around it; "
            f"pass it as a parameter of the step"
        ) from error
