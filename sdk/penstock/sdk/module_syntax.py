"""A module's source, split into plain definitions, imports, and the statements that run when it is imported.

A definition counts only where something reaches it. A statement counts as soon as its module is touched. What describes a
pipeline rather than a step (`@pipeline` functions, objects of the SDK, calls on pipelines, the `__main__` block) is no statement.
Standard library alone.
"""

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from penstock.sdk.references import Chain, Import, References, chain_of, imports_of, references_of
from penstock.sdk.syntax_encoding import syntax_digest

_SDK = "penstock.sdk"

# Decorators that do nothing but what their function's code says: they register it nowhere.
_PLAIN_DECORATORS = frozenset(
    """
    staticmethod classmethod property
    functools:cache functools:lru_cache functools:wraps functools:cached_property functools:total_ordering functools:singledispatch
    contextlib:contextmanager contextlib:asynccontextmanager dataclasses:dataclass enum:unique enum:verify abc:abstractmethod
    typing:overload typing:final typing:override typing:no_type_check typing:runtime_checkable typing:dataclass_transform
    typing_extensions:overload typing_extensions:final typing_extensions:override typing_extensions:runtime_checkable
    typing_extensions:deprecated warnings:deprecated pydantic:validate_call pydantic.dataclasses:dataclass
    attr:s attr:attrs attr:define attr:frozen attrs:define attrs:frozen attrs:mutable
    numba:jit numba:njit numba:vectorize torch:no_grad torch:inference_mode torch:compile jax:jit
    """.split()
)
_POLICY_DECORATORS = frozenset({f"{_SDK}:step", f"{_SDK}:pipeline"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


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
    steps: set[str] = field(default_factory=set[str])
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
        nodes = ast.walk(self.tree)
        return frozenset(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))

    @cached_property
    def everything(self) -> Code:
        """All of the module but its `__main__` block and its pipelines."""
        body = [*self.statements, *self.literals, *self.definitions.values()]
        nodes = sorted((node for code in body for node in code.nodes), key=lambda node: (node.lineno, node.col_offset))
        return Code(tuple(nodes), self.package, 1)


_PARSED: dict[tuple[str, bool, bytes], ModuleSyntax] = {}


def parse_module(source: bytes, name: str, *, is_package: bool) -> ModuleSyntax:
    """The syntax of a module; the same source is parsed once in a process.

    :raises SyntaxError: it is not Python of this interpreter's version.
    """
    key = (name, is_package, hashlib.sha256(source).digest())
    if key not in _PARSED:
        package = name if is_package else name.rpartition(".")[0]
        module = ModuleSyntax(name, package, ast.parse(source))
        _Splitter(module).split()
        _PARSED[key] = module
    return _PARSED[key]


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
        decorators = [self._decorator(decorator) for decorator in node.decorator_list]
        if f"{_SDK}:pipeline" in decorators:
            self._module.pipelines.add(node.name)
            return
        if not all(name in _PLAIN_DECORATORS or name in _POLICY_DECORATORS for name in decorators) or _acts_at_definition(node):
            self._state(node)
            return
        if f"{_SDK}:step" in decorators:
            self._module.steps.add(node.name)
        self._add_definition(node.name, self.without_policies(node))

    def without_policies(self, node: Function | ast.ClassDef) -> ast.stmt:
        kept = [decorator for decorator in node.decorator_list if self._decorator(decorator) not in _POLICY_DECORATORS]
        if len(kept) == len(node.decorator_list):
            return node
        bare = copy.copy(node)
        bare.decorator_list = kept
        return bare

    def _assign(self, statement: ast.stmt, name: str, value: ast.expr) -> None:
        if name == "__all__":
            return
        if self._is_policy(value):
            self._add_definition(name, statement)
        elif _is_constant(value) and isinstance(statement, ast.Assign):
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
        return self._target(chain_of(node.func if isinstance(node, ast.Call) else node) or ())

    def _target(self, chain: Chain) -> str:
        """What a chain names, as `module:name`, where an import of this module says so; else the chain itself."""
        if not chain:
            return ""
        for target in self._module.imports.get(chain[0], []):
            if target.name is not None and len(chain) == 1:
                module = _SDK if target.module.startswith(f"{_SDK}.") else target.module
                return f"{module}:{target.name}"
            path = ".".join([target.module, *([target.name] if target.name else []), *chain[1:-1]])
            return f"{path}:{chain[-1]}"
        return ".".join(chain)

    def _is_policy(self, value: ast.expr) -> bool:
        """Whether a value is made by calls on the SDK, on a step or on a pipeline: it describes pipelines."""
        root: ast.AST = value
        called = False
        while isinstance(root, ast.Call | ast.Attribute | ast.Subscript):
            called = called or isinstance(root, ast.Call)
            root = root.func if isinstance(root, ast.Call) else root.value
        if not called or not isinstance(root, ast.Name):
            return False
        if root.id in self._module.pipelines | self._module.steps:
            return True
        return any(
            target.module == _SDK or target.module.startswith(f"{_SDK}.") or target.target == "penstock:sdk"
            for target in self._module.imports.get(root.id, [])
        )


def _reached_statements(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """The statements with whether they run on import: without `__main__` blocks, and not those for type checkers alone."""
    for statement in body:
        match statement:
            case ast.If(test=test, body=inner, orelse=other) if _asks_main(test):
                yield from ((node, True) for node, _ in _reached_statements(other))
            case ast.If(test=test, body=inner, orelse=other) if (chain_of(test) or ("",))[-1] == "TYPE_CHECKING":
                yield from ((node, False) for node in inner)
                yield from ((node, True) for node, _ in _reached_statements(other))
            case _:
                yield statement, True


def _asks_main(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
        case ast.Compare(left=ast.Constant(value="__main__"), ops=[ast.Eq()], comparators=[ast.Name(id="__name__")]):
            return True
        case _:
            return False


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


def _acts_at_definition(node: Function | ast.ClassDef) -> bool:
    """Whether a class does more than define itself: its keywords go to `__init_subclass__` or a metaclass, its body calls something."""
    if not isinstance(node, ast.ClassDef):
        return False
    calls = any(isinstance(part, ast.Expr) and not isinstance(part.value, ast.Constant) for part in node.body)
    return calls or bool(node.keywords)


def _is_constant(node: ast.expr) -> bool:
    """Whether a value is made of constants alone."""
    match node:
        case ast.Constant():
            return True
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return all(_is_constant(part) for part in parts)
        case ast.Dict(keys=keys, values=values):
            return all(key is not None and _is_constant(key) for key in keys) and all(_is_constant(value) for value in values)
        case ast.UnaryOp(operand=operand):
            return _is_constant(operand)
        case ast.BinOp(left=left, right=right):
            return _is_constant(left) and _is_constant(right)
        case _:
            return False
