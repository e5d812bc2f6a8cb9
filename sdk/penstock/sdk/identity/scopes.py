"""Which names a scope of Python binds itself. Standard library alone."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True)
class Bindings:
    """`local` are the names of the scope itself; those that it declares `global` are of the module."""

    local: frozenset[str]
    outer: frozenset[str]


def bindings_of(nodes: Iterable[ast.AST]) -> Bindings:
    """What nodes of one scope bind; imports are left out, for they are followed."""
    found: set[str] = set()
    outer: set[str] = set()
    around: set[str] = set()
    for node in _own_scope(list(nodes)):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.add(name)
            case ast.MatchMapping(rest=str(name)):
                found.add(name)
            case ast.Global(names=names):
                outer.update(names)
            case ast.Nonlocal(names=names):
                around.update(names)
            case _:
                pass
    return Bindings(frozenset(found - outer - around), frozenset(outer))


def all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return named + [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]


def argument_names(arguments: ast.arguments) -> frozenset[str]:
    return frozenset(argument.arg for argument in all_arguments(arguments))


def type_parameters(node: ast.AST) -> frozenset[str]:
    return frozenset(parameter.name for parameter in getattr(node, "type_params", []))


def _own_scope(nodes: list[ast.AST]) -> list[ast.AST]:
    """The nodes and all below them that belong to the same scope; an inner scope itself, not what is in it."""
    own: list[ast.AST] = []
    waiting = nodes
    while waiting:
        node = waiting.pop()
        own.append(node)
        if isinstance(node, Comprehension):
            # A walrus inside binds in the scope around; the loop variables don't.
            own += [part.target for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
        elif not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return own
