"""Where in a module's syntax a function is written. Standard library alone."""

import ast
from types import FunctionType

from penstock.contracts.errors import GraphError

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def definition_in(tree: ast.Module, function: FunctionType) -> Definition:
    """The definition of a function: by its qualified name, and by its line where several have that name.

    :raises GraphError: there is none.
    """
    code = function.__code__
    found = _named(tree, function.__qualname__)
    if not found:
        raise GraphError(f"{code.co_filename}: there is no {function.__qualname__} in it any more; start the program again")
    at_line = [node for node in found if _first_line(node) == code.co_firstlineno]
    if isinstance(found[0], ast.Lambda) and len(at_line) != 1:
        raise GraphError(f"{code.co_filename}:{code.co_firstlineno}: which lambda is the step can't be told; give it a name with def")
    return at_line[-1] if at_line else found[-1]


def names_bound_inside(node: Definition) -> frozenset[str]:
    """Every name that a function or one inside it binds."""
    names: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.arg):
            names.add(part.arg)
        elif isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
            names.add(part.id)
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and part is not node:
            names.add(part.name)
    return frozenset(names)


def _named(tree: ast.Module, qualname: str) -> list[Definition]:
    nodes: list[ast.AST] = [tree]
    for part in qualname.split("."):
        if part != "<locals>":
            nodes = [inner for node in nodes for inner in _right_inside(node) if _name(inner) == part]
    return [node for node in nodes if isinstance(node, Definition)]


def _right_inside(node: ast.AST) -> list[ast.AST]:
    """The definitions inside a node that are in no other definition, in their order."""
    found: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(node))
    while waiting:
        inner = waiting.pop(0)
        if isinstance(inner, Definition | ast.ClassDef):
            found.append(inner)
        else:
            waiting[:0] = ast.iter_child_nodes(inner)
    return found


def _name(node: ast.AST) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else getattr(node, "name", "")


def _first_line(node: Definition) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
