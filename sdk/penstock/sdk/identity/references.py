"""What a piece of code refers to: the global names it loads with the attributes taken of them, and its own imports.

Scopes are followed as Python follows them, so a local variable that is named as a function is no use of that function.
Standard library alone.
"""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from penstock.sdk.identity.imports import Chain, Import, absolute_module, chain_of, imports_of, literal_text, text_before_computed
from penstock.sdk.identity.scopes import Comprehension, Function, all_arguments, argument_names, bindings_of, type_parameters

_DYNAMIC = frozenset({"globals", "eval", "exec"})
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*[.:][^\W\d]\w*")
_READS = frozenset({"get", "getenv", "pop", "setdefault"})


@dataclass
class References:
    """`chains`, `dynamic` and `reads` map to the line where the thing was first seen."""

    chains: dict[Chain, int] = field(default_factory=dict[Chain, int])
    imports: dict[str, list[Import]] = field(default_factory=dict[str, list[Import]])
    """By the name that an import inside the code binds."""
    executed: list[Import] = field(default_factory=list[Import])
    """All imports inside the code, whether their name is used or not."""
    loaded: dict[str, int] = field(default_factory=dict[str, int])
    """Modules loaded by a call, of which any name may be used; `models.*` is any module below `models`."""
    dynamic: dict[str, int] = field(default_factory=dict[str, int])
    """What can reach any name of the module, such as `globals()`."""
    texts: dict[str, int] = field(default_factory=dict[str, int])
    """Literal text with dots, such as `models.resnet.ResNet`: configurations name classes so."""
    subclasses: int | None = None
    """Where `__subclasses__` is asked for, which finds classes that nothing names."""
    variables: dict[tuple[Chain, str], int] = field(default_factory=dict[tuple[Chain, str], int])
    """Literal keys read of something: whether that is `os.environ` is for the caller to resolve."""

    @property
    def roots(self) -> set[str]:
        return {chain[0] for chain in self.chains}


def references_of(*nodes: ast.AST, package: str) -> References:
    """What the nodes, standing at the top level of a module of `package`, refer to."""
    found = References()
    for node in nodes:
        _Scope(found, package, hidden=frozenset()).visit(node)
    return found


class _Scope:
    """Visits one scope; nested scopes are visited by others that know which names are hidden from the top level."""

    def __init__(self, found: References, package: str, hidden: frozenset[str]) -> None:
        self._found = found
        self._package = package
        self._hidden = hidden

    def visit(self, node: ast.AST) -> None:
        match node:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                # Bound here: a field of a class may be named as a function is.
                pass
            case ast.Name() | ast.Attribute():
                self._name(node)
            case ast.AugAssign(target=ast.Name() as target):
                self._name(target)
                self.visit(node.value)
            case ast.Constant(value=str(text)) if _DOTTED.fullmatch(text):
                self._found.texts.setdefault(text, node.lineno)
            case ast.Global(names=names):
                for name in names:
                    self._found.chains.setdefault((name,), node.lineno)
            case ast.Import() | ast.ImportFrom():
                self._import(node)
            case ast.Call() if self._attribute_call(node):
                pass
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
                self._visit_scope(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._visit_comprehension(node)
            case ast.AnnAssign():
                self.visit_annotation(node.annotation)
                self.visit_all(part for part in (node.target, node.value) if part is not None)
            case _:
                self._visit_plain(node)

    def visit_arguments(self, arguments: ast.arguments) -> None:
        self.visit_all(default for default in [*arguments.defaults, *arguments.kw_defaults] if default is not None)
        for argument in all_arguments(arguments):
            if argument.annotation is not None:
                self.visit_annotation(argument.annotation)

    def visit_annotation(self, node: ast.AST) -> None:
        """An annotation may be written as text; what it names is then in that text."""
        self.visit(node)
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                try:
                    quoted = ast.parse(part.value.strip(), mode="eval").body
                except (SyntaxError, ValueError):
                    continue
                for inner in ast.walk(quoted):
                    ast.copy_location(inner, part)
                self.visit(quoted)

    def visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _visit_plain(self, node: ast.AST) -> None:
        match node:
            case ast.Call():
                self._call(node)
            case ast.Subscript(ctx=ast.Load()):
                self._read(chain_of(node.value), node.slice)
            case ast.Compare(ops=[ast.In() | ast.NotIn()]):
                self._read(chain_of(node.comparators[0]), node.left)
            case _:
                pass
        self.visit_all(ast.iter_child_nodes(node))

    def _name(self, node: ast.Name | ast.Attribute) -> None:
        chain = chain_of(node)
        if isinstance(node, ast.Attribute) and node.attr == "__subclasses__":
            self._found.subclasses = self._found.subclasses or node.lineno
        if chain is not None:
            self._refer(chain, node)
        elif isinstance(node, ast.Attribute):
            self.visit(node.value)

    def _refer(self, chain: Chain, node: ast.expr) -> None:
        if chain[0] not in self._hidden:
            self._found.chains.setdefault(chain, node.lineno)

    def _read(self, chain: Chain | None, key: ast.expr) -> None:
        literal = literal_text(key)
        if chain and literal is not None and chain[0] not in self._hidden:
            self._found.variables.setdefault((chain, literal), key.lineno)

    def _visit_scope(self, node: Function | ast.Lambda | ast.ClassDef) -> None:
        match node:
            case ast.Lambda():
                self.visit_arguments(node.args)
                self._inner(argument_names(node.args) | bindings_of([node.body]).local).visit(node.body)
            case ast.ClassDef():
                self.visit_all([*node.decorator_list, *node.bases, *node.keywords])
                # A class body may read the global of a name before it binds its own, and its names are not seen by methods.
                self._inner(type_parameters(node)).visit_all([*getattr(node, "type_params", []), *node.body])
            case _:
                self._visit_function(node)

    def _visit_function(self, node: Function) -> None:
        self.visit_all(node.decorator_list)
        annotated = self._inner(type_parameters(node))
        annotated.visit_arguments(node.args)
        for part in [*getattr(node, "type_params", []), *([node.returns] if node.returns else [])]:
            annotated.visit_annotation(part)
        bindings = bindings_of(node.body)
        hidden = self._hidden | type_parameters(node) | argument_names(node.args) | bindings.local
        inner = _Scope(self._found, self._package, hidden - bindings.outer)
        inner.visit_all(node.body)

    def _visit_comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        targets = [generator.target for generator in node.generators]
        self._inner(bindings_of(targets).local).visit_all(ast.iter_child_nodes(node))

    def _inner(self, names: frozenset[str]) -> "_Scope":
        return _Scope(self._found, self._package, self._hidden | names)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, target in imports_of(node, self._package):
            self._found.imports.setdefault(name, []).append(target)
            self._found.executed.append(target)

    def _call(self, node: ast.Call) -> None:
        chain = chain_of(node.func)
        if chain is None:
            return
        if chain[-1] == "import_module" or chain == ("__import__",):
            self._import_call(node, chain)
        elif len(chain) == 1 and chain[0] in _DYNAMIC and chain[0] not in self._hidden:
            self._found.dynamic.setdefault(f"{chain[0]}()", node.lineno)
        elif chain[-1] in _READS and node.args:
            self._read(chain, node.args[0])

    def _attribute_call(self, node: ast.Call) -> bool:
        """`getattr` of a name with literal text is an attribute like any other."""
        chain = chain_of(node.args[0]) if chain_of(node.func) == ("getattr",) and len(node.args) > 1 else None
        literal = literal_text(node.args[1]) if chain else None
        if chain is None or literal is None:
            return False
        self._refer((*chain, literal), node)
        self.visit_all(node.args[2:])
        return True

    def _import_call(self, node: ast.Call, chain: Chain) -> None:
        name = text_before_computed(node.args[0], self._package) if node.args else None
        if name is None:
            self._found.dynamic.setdefault(f"{'.'.join(chain)}() of a name that is computed", node.lineno)
            return
        level = len(name) - len(name.lstrip("."))
        module = absolute_module(name[level:], level, self._package)
        self._found.loaded.setdefault(module, node.lineno)
        if not module.endswith("*"):
            self._found.executed.append(Import(module))
