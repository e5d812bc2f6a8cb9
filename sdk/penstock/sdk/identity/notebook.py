"""A module made of a notebook's cells, or of what was typed at a prompt: its imports, definitions and constants, the last of each name.

Guests import that module. What cells compute is not in it: a step that uses such a value is told to take it as a parameter.
"""

import ast
import hashlib
import linecache
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import cast

from penstock.contracts.errors import GraphError
from penstock.sdk.identity.imports import imports_of
from penstock.sdk.identity.module_syntax import ModuleSyntax, parse_module
from penstock.sdk.identity.project import NOTEBOOK_MODULE
from penstock.sdk.identity.references import references_of


@dataclass(frozen=True)
class _Entry:
    """What a name is bound to last: an import, a definition, a constant, or a value (`source` None) that a guest can't have."""

    source: str | None
    uses: frozenset[str]
    line: int


def notebook_of(function: FunctionType) -> tuple[ModuleSyntax, Path]:
    """The module that holds a function from a notebook or a prompt, with a file of it.

    :raises GraphError: there is no source of it, or it uses a value that a cell computed.
    """
    cells = "\n".join(_cells(function))
    syntax = parse_module(cells.encode("utf-8", "replace"), NOTEBOOK_MODULE, is_package=False)
    entries = _entries(syntax, cells)
    _check(function, entries)
    source = _module_source(entries)
    return _by_use(parse_module(source.encode(), NOTEBOOK_MODULE, is_package=False)), _written(source)


def _by_use(syntax: ModuleSyntax) -> ModuleSyntax:
    """With constants as definitions, which count where they are used: a notebook gets new ones all the time, in any order."""
    constants = {name: code for code in syntax.literals for node in code.nodes for name in _names(node)}
    return replace(syntax, definitions=syntax.definitions | constants, literals=[], bound=syntax.bound - constants.keys())


def _cells(function: FunctionType) -> list[str]:
    """The sources of the cells in the order in which they ran, without those that are no Python."""
    history = function.__globals__.get("_ih")
    if isinstance(history, list):
        sources = [str(cell) for cell in cast("list[object]", history)]
    else:
        own = function.__code__.co_filename
        typed = [name for name in linecache.cache if name.startswith("<python-input-")]
        sources = ["".join(linecache.getlines(name)) for name in dict.fromkeys([*typed, own])]
    readable = [source for source in sources if _parses(source)]
    if not any(f"{function.__name__}" in source for source in readable):
        raise GraphError(f"the source of {function.__qualname__} can't be found; write it in a file, and import it from there")
    return readable


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return bool(source.strip())


def _entries(syntax: ModuleSyntax, cells: str) -> dict[str, _Entry]:
    lines = cells.splitlines()
    plain = {id(node): node for code in [*syntax.definitions.values(), *syntax.literals] for node in code.nodes}
    shown = {(node.lineno, node.col_offset): node for node in plain.values()}
    entries: dict[str, _Entry] = {}
    for statement in syntax.tree.body:
        kept = shown.get((statement.lineno, statement.col_offset))
        if isinstance(statement, ast.Import | ast.ImportFrom):
            found = {name: _Entry(ast.unparse(statement), frozenset(), statement.lineno) for name, _ in imports_of(statement, "")}
        elif kept is not None and not _runs_pipelines(kept, syntax):
            uses = frozenset(references_of(kept, package="").roots)
            entry = _Entry(_source_of(statement, kept, lines), uses, statement.lineno)
            found = dict.fromkeys(_names(statement), entry)
        else:
            found = dict.fromkeys(_names(statement), _Entry(None, frozenset(), statement.lineno))
        entries |= found
    return entries


def _runs_pipelines(statement: ast.stmt, syntax: ModuleSyntax) -> bool:
    """Whether a statement makes something of a step or a pipeline of the notebook: guests must not, for they run steps alone."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    roots = references_of(statement, package="").roots - set(_names(statement))
    return not roots.isdisjoint(syntax.policies | syntax.pipelines)


def _source_of(statement: ast.stmt, kept: ast.stmt, lines: list[str]) -> str:
    """The lines as written where that is possible: tracebacks then show what people wrote."""
    if kept is not statement or not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        # The decorators that say policies are left out, for what they use need not be in the module.
        return ast.unparse(kept)
    first = min([statement.lineno, *(decorator.lineno for decorator in statement.decorator_list)])
    return "\n".join(lines[first - 1 : statement.end_lineno])


def _names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    stored = (node for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return [node.id for node in stored]


def _check(function: FunctionType, entries: dict[str, _Entry]) -> None:
    """Follows what the function uses to the values that a guest can't have."""
    waiting = [(function.__qualname__.partition(".")[0], "")]
    seen: set[str] = set()
    while waiting:
        name, user = waiting.pop()
        if name in seen or name not in entries:
            continue
        seen.add(name)
        entry = entries[name]
        if entry.source is None and user:
            through = "" if user == function.__name__ else f" (in {user})"
            raise GraphError(
                f"the step {function.__qualname__} uses {name}{through}, a value that a cell of the notebook computes; "
                f"pass it to the step as a parameter, or compute it inside"
            )
        waiting += [(used, name) for used in sorted(entry.uses)]


def _module_source(entries: dict[str, _Entry]) -> str:
    """What can stand in a module: all but values and what uses them; and of the imports those that something uses."""
    kept = {name: entry for name, entry in entries.items() if entry.source is not None}
    while lost := [name for name, entry in kept.items() if any(used in entries and used not in kept for used in entry.uses)]:
        for name in lost:
            del kept[name]
    used = {name for entry in kept.values() for name in entry.uses} | {"annotations", "*"}
    parts = [entry for name, entry in kept.items() if entry.uses or not _is_import(entry) or name.partition(".")[0] in used]
    sources = dict.fromkeys(entry.source for entry in sorted(parts, key=lambda entry: entry.line) if entry.source is not None)
    return "\n\n".join(sorted(sources, key=lambda source: not source.startswith("from __future__"))) + "\n"


def _is_import(entry: _Entry) -> bool:
    return entry.source is not None and entry.source.startswith(("import ", "from "))


def _written(source: str) -> Path:
    """A file of that content; the same content has the same file."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:32]
    owner = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir(), f"penstock-notebooks-{owner}", digest)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"{NOTEBOOK_MODULE}.py"
    if not file.exists() or file.read_text("utf-8") != source:
        staged = file.with_suffix(f".{os.getpid()}")
        staged.write_text(source, "utf-8")
        staged.replace(file)
    return file
