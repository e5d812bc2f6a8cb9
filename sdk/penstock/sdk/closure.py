"""The definition closure of a function step: all code of the project that the function can reach, as an identity."""

import ast
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.contracts.encoding import digest_of
from penstock.contracts.errors import GraphError
from penstock.contracts.spec import Identity
from penstock.sdk.module_syntax import Code, ModuleSyntax
from penstock.sdk.project import Project, module_source_file, real_name
from penstock.sdk.reach import Module, Reach
from penstock.sdk.syntax_encoding import NEUTRAL_NAME, syntax_digest

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Closure:
    """`module` and `function` name the function in a snapshot, which must hold `modules`: dotted name to file.

    `imports` are the top-level names of modules that are not the project's. `environ` maps the variables that the code reads by
    a literal name to the place, `helpers.py:12`.
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
    """The closure of a step's function as its file says now.

    :raises GraphError: the function's source can't be found or read.
    """
    function = inspect.unwrap(function)
    home = sys.modules.get(function.__module__)
    file = module_source_file(home) if home is not None else None
    if home is None or file is None:
        raise GraphError(f"the source of {function.__qualname__} (module {function.__module__}) is not in a file; move it to a module")
    project = Project.of(home)
    name = real_name(home) or project.name_of(file)
    reach = Reach(project)
    try:
        module = reach.module(name)
        assert module is not None
        node = find_definition(module.syntax, function)
        own, label = _own_code(module, node, function)
        reach.add(name, own)
    except SyntaxError as error:
        raise GraphError(f"{error.filename or name}:{error.lineno}: {error.msg}") from error
    return _closure(reach, module, function.__qualname__, label, _own_digest(own, node), declared_files)


def _closure(reach: Reach, module: Module, function: str, label: str, own: str, declared_files: Sequence[str]) -> Closure:
    components = reach.components()
    # Another name for the same code is the same code; so the function's own label is not in the digest.
    components.pop(label, None)
    digest = digest_of([own, sorted(components.items())])
    notes = tuple(reach.notes)
    return Closure(
        identity=Identity(digest=digest, components={label: own, **dict(sorted(components.items()))}, notes=notes),
        module=module.syntax.name,
        function=function,
        modules={name: found.file for name, found in sorted(reach.modules.items()) if found.file is not None},
        imports=frozenset(reach.imports),
        environ=dict(sorted(reach.environ.items())),
        notes=notes,
        declared_files=tuple(declared_files),
    )


def _own_code(module: Module, node: Definition, function: Callable[..., object]) -> tuple[Code, str]:
    """A step's code: the definition at the top level that holds its function, with its label."""
    statement = next((code for code in module.syntax.definitions.values() if any(_holds(top, node) for top in code.nodes)), None)
    own = statement or Code((ast.Expr(node) if isinstance(node, ast.Lambda) else node,), module.syntax.package, node.lineno)
    return own, f"{module.label}::{function.__qualname__}"


def _own_digest(own: Code, node: Definition) -> str:
    if isinstance(node, ast.Lambda):
        return syntax_digest(node)
    return syntax_digest(*own.nodes, renamed={node.name: NEUTRAL_NAME})


def _holds(statement: ast.stmt, node: Definition) -> bool:
    return any(part is node or _same_place(part, node) for part in ast.walk(statement))


def _same_place(part: ast.AST, node: Definition) -> bool:
    return type(part) is type(node) and (getattr(part, "lineno", 0), getattr(part, "col_offset", 0)) == (node.lineno, node.col_offset)


def find_definition(syntax: ModuleSyntax, function: Callable[..., object]) -> Definition:
    """The definition of a function in its module's syntax: by its qualified name, and by its line where several have it.

    :raises GraphError: there is none.
    """
    code = function.__code__  # type: ignore[attr-defined]  # a plain function has it
    found = list(_definitions_named(syntax.tree, function.__qualname__))
    at_line = [node for node in found if _first_line(node) == code.co_firstlineno]
    if not found:
        raise GraphError(f"{code.co_filename}: there is no {function.__qualname__} any more; was the file edited while it runs?")
    return at_line[-1] if at_line else found[-1]


def _definitions_named(tree: ast.AST, qualname: str) -> list[Definition]:
    nodes: list[ast.AST] = [tree]
    parts = [part for part in qualname.split(".") if part != "<locals>"]
    for part in parts:
        nodes = [inner for node in nodes for inner in _directly_inside(node) if _name_of(inner) == part]
    return [node for node in nodes if isinstance(node, Definition)]


def _directly_inside(node: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(node))
    while waiting:
        inner = waiting.pop(0)
        if isinstance(inner, Definition | ast.ClassDef):
            found.append(inner)
        else:
            waiting += ast.iter_child_nodes(inner)
    return found


def _name_of(node: ast.AST) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else getattr(node, "name", "")


def _first_line(node: Definition) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
