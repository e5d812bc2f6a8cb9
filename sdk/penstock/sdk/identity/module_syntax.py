"""A module's source, split into plain definitions, imports, and the statements that run when it is imported.

A definition counts only where something reaches it. A statement counts as soon as its module is touched. What describes a
pipeline rather than a step (`@pipeline` functions, objects of the SDK, calls on pipelines, the `__main__` block) is no statement.
Standard library alone.
"""

import ast
import copy
import hashlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from penstock.sdk.identity.imports import Chain, Import, chain_of, imports_of
from penstock.sdk.identity.plain_code import PIPELINE, PLAIN_DECORATORS, SDK, STEP, acts_at_definition, asks_main, is_constant
from penstock.sdk.identity.references import References, references_of
from penstock.sdk.identity.scopes import Function
from penstock.sdk.identity.syntax_encoding import syntax_digest


@dataclass
class Code:
    """Some nodes of a module with what they refer to. `nodes` are without decorators that say policies."""

    nodes: tuple[ast.stmt, ...]
    package: str
    line: int

    @cached_property
    def references(self) -> References:
        return references_of(*self.nodes, package=self.package)

    @cached_property
    def digest(self) -> str:
        return syntax_digest(*self.nodes)


@dataclass
class ModuleSyntax:
    """One module as written. `literals` are those statements that bind names to constants and so do nothing when imported."""

    name: str
    package: str
    tree: ast.Module
    definitions: dict[str, Code] = field(default_factory=dict[str, Code])
    pipelines: set[str] = field(default_factory=set[str])
    policies: set[str] = field(default_factory=set[str])
    """Names of steps and of what is made of steps, pipelines and other objects of the SDK."""
    classes: dict[str, ast.ClassDef] = field(default_factory=dict[str, ast.ClassDef])
    bound: set[str] = field(default_factory=set[str])
    """Names that statements bind."""
    imports: dict[str, list[Import]] = field(default_factory=dict[str, list[Import]])
    executed: list[tuple[str, Import, int]] = field(default_factory=list[tuple[str, Import, int]])
    """Every import that runs when the module is imported: the name it binds, what it binds it to, its line."""
    statements: list[Code] = field(default_factory=list[Code])
    literals: list[Code] = field(default_factory=list[Code])

    @cached_property
    def used_names(self) -> frozenset[str]:
        """Every name that any code of the module loads."""
        names: set[str] = set()
        for node in ast.walk(self.tree):
            match node:
                case ast.Name(id=name, ctx=ast.Load()):
                    names.add(name)
                case ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation):
                    names.update(_names_in_text(annotation))
                case ast.FunctionDef(returns=ast.expr() as annotation) | ast.AsyncFunctionDef(returns=ast.expr() as annotation):
                    names.update(_names_in_text(annotation))
                case _:
                    continue
        return frozenset(names)

    @cached_property
    def everything(self) -> Code:
        """All of the module but its `__main__` block and its pipelines."""
        body = [*self.statements, *self.literals, *self.definitions.values()]
        nodes = sorted((node for code in body for node in code.nodes), key=lambda node: (node.lineno, node.col_offset))
        return Code(tuple(nodes), self.package, 1)


_PARSED: dict[tuple[str, bool], tuple[bytes, ModuleSyntax]] = {}


def parse_module(source: bytes, name: str, *, is_package: bool, filename: str = "") -> ModuleSyntax:
    """The syntax of a module; the same source is parsed once in a process.

    :raises SyntaxError: it is not Python of this interpreter's version.
    """
    digest = hashlib.sha256(source).digest()
    known = _PARSED.get((name, is_package))
    if known is not None and known[0] == digest:
        return known[1]
    with warnings.catch_warnings():
        # Python says them when the module is imported.
        warnings.simplefilter("ignore")
        tree = ast.parse(source, filename or f"{name}.py")
    module = ModuleSyntax(name, name if is_package else name.rpartition(".")[0], tree)
    _Splitter(module).split()
    _PARSED[name, is_package] = (digest, module)
    return module


class _Splitter:
    def __init__(self, module: ModuleSyntax) -> None:
        self._module = module

    def split(self) -> None:
        module = self._module
        for statement, runs in _reached_statements(module.tree.body):
            for node in _top_level_imports(statement):
                self._bind_imports(node, runs=runs)
        for statement, runs in _reached_statements(module.tree.body):
            if runs:
                self._place(statement)

    def _bind_imports(self, node: ast.Import | ast.ImportFrom, *, runs: bool) -> None:
        for name, target in imports_of(node, self._module.package):
            self._module.imports.setdefault(name, []).append(target)
            if runs:
                self._module.executed.append((name, target, node.lineno))

    def _place(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Expr(value=ast.Constant()):
                return
            case ast.Import() | ast.ImportFrom():
                if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                    self._state(statement)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._define(statement)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._assign(statement, name, value)
            case ast.Expr(value=value) if self._is_policy(value):
                return
            case _:
                self._state(statement)

    def _define(self, node: Function | ast.ClassDef) -> None:
        if isinstance(node, ast.ClassDef):
            self._module.classes[node.name] = node
        decorators = [self._decorator(decorator) for decorator in node.decorator_list]
        if PIPELINE in decorators:
            self._module.pipelines.add(node.name)
            return
        if not all(name in PLAIN_DECORATORS or name in (STEP, PIPELINE) for name in decorators) or acts_at_definition(node):
            self._state(self.without_policies(node))
            return
        if STEP in decorators:
            self._module.policies.add(node.name)
        self._add_definition(node.name, self.without_policies(node))

    def without_policies(self, node: Function | ast.ClassDef) -> ast.stmt:
        kept = [decorator for decorator in node.decorator_list if self._decorator(decorator) not in (STEP, PIPELINE)]
        if len(kept) == len(node.decorator_list):
            return node
        bare = copy.copy(node)
        bare.decorator_list = kept
        return bare

    def _assign(self, statement: ast.stmt, name: str, value: ast.expr) -> None:
        if name == "__all__":
            return
        if self._is_policy(value):
            self._module.policies.add(name)
            self._add_definition(name, statement)
        elif is_constant(value):
            self._module.bound.add(name)
            self._module.literals.append(Code((statement,), self._module.package, statement.lineno))
        else:
            self._state(statement)

    def _add_definition(self, name: str, node: ast.stmt) -> None:
        before = self._module.definitions.get(name)
        nodes = (*before.nodes, node) if before else (node,)
        self._module.definitions[name] = Code(nodes, self._module.package, node.lineno)

    def _state(self, statement: ast.stmt) -> None:
        self._module.bound |= _names_bound_by(statement)
        self._module.statements.append(Code((statement,), self._module.package, statement.lineno))

    def _decorator(self, node: ast.expr) -> str:
        chain = chain_of(node.func if isinstance(node, ast.Call) else node) or ()
        # A step's settings under a name of their own: `gpu_step = step(pool="gpu")`.
        return STEP if len(chain) == 1 and chain[0] in self._module.policies else self._target(chain)

    def _target(self, chain: Chain) -> str:
        """What a chain names, as `module:name`, where an import of this module says so; else the chain itself."""
        if not chain:
            return ""
        for target in self._module.imports.get(chain[0], []):
            if target.name is not None and len(chain) == 1:
                module = SDK if target.module.startswith(f"{SDK}.") else target.module
                return f"{module}:{target.name}"
            path = ".".join([target.module, *([target.name] if target.name else []), *chain[1:-1]])
            return f"{path}:{chain[-1]}"
        stars = {target.module for target in self._module.imports.get("*", [])}
        return f"{SDK}:{chain[0]}" if SDK in stars and f"{SDK}:{chain[0]}" in (STEP, PIPELINE) else ".".join(chain)

    def _is_policy(self, value: ast.expr) -> bool:
        """Whether a value is made by calls on the SDK, on a step or on a pipeline: it describes pipelines."""
        if isinstance(value, ast.Call) and value.args and self._target(chain_of(value.args[0]) or ()) in (STEP, PIPELINE):
            # Such as `partial(step, pool="gpu")`.
            return True
        root: ast.AST = value
        inner: list[ast.AST] = []
        while isinstance(root, ast.Call | ast.Attribute | ast.Subscript):
            inner.append(root)
            root = root.func if isinstance(root, ast.Call) else root.value
        if not any(isinstance(part, ast.Call) for part in inner) or not isinstance(root, ast.Name):
            return False
        if root.id in self._module.pipelines:
            return True
        if root.id in self._module.policies:
            # Called by its name, a step is the plain function.
            return not isinstance(inner[-1], ast.Call)
        return self._target((root.id,)) in (STEP, PIPELINE) or any(
            target.module == SDK or target.module.startswith(f"{SDK}.") or target.target == "penstock:sdk"
            for target in self._module.imports.get(root.id, [])
        )


def _reached_statements(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """The statements with whether they run on import: without `__main__` blocks, and not those for type checkers alone."""
    for statement in body:
        match statement:
            case ast.If(test=test, body=inner, orelse=other) if asks_main(test):
                yield from ((node, True) for node, _ in _reached_statements(other))
            case ast.If(test=test, body=inner, orelse=other) if (chain_of(test) or ("",))[-1] == "TYPE_CHECKING":
                yield from ((node, False) for node in inner)
                yield from ((node, True) for node, _ in _reached_statements(other))
            case _:
                yield statement, True


def _top_level_imports(statement: ast.stmt) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports in a statement that run when it runs: those in its blocks and class bodies, not those in functions."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            waiting[:0] = ast.iter_child_nodes(node)


def _names_bound_by(statement: ast.stmt) -> set[str]:
    names: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        waiting += ast.iter_child_nodes(node)
    return names


def _names_in_text(annotation: ast.expr) -> Iterator[str]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"[^\W\d]\w*", node.value)
