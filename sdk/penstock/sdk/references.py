"""What a piece of code refers to: the global names it loads with the attributes taken of them, and its own imports.

Scopes are followed as Python follows them, so a local variable that is named as a function is no use of that function.
Standard library alone.
"""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

Chain = tuple[str, ...]
"""A name and the attributes taken of it: `helpers.sub.clean` is ("helpers", "sub", "clean")."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

_DYNAMIC = frozenset({"globals", "eval", "exec"})
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*[.:][^\W\d]\w*")
_READS = frozenset({"get", "getenv", "pop", "setdefault"})


@dataclass(frozen=True)
class Import:
    """A name bound by an import: a module (`name` None), or a name in a module; `*` is all of its names."""

    module: str
    name: str | None = None

    @property
    def target(self) -> str:
        return self.module if self.name is None else f"{self.module}:{self.name}"


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


def imports_of(node: ast.Import | ast.ImportFrom, package: str) -> list[tuple[str, Import]]:
    """The names that an import statement binds, with what they are bound to. The name of a star import is `*`."""
    if isinstance(node, ast.ImportFrom):
        module = absolute_module(node.module, node.level, package)
        return [(alias.asname or alias.name, Import(module, alias.name)) for alias in node.names]
    bound: list[tuple[str, Import]] = []
    for alias in node.names:
        if alias.asname is not None:
            bound.append((alias.asname, Import(alias.name)))
        else:
            # `import a.b` binds `a`; that `a.b` is loaded shows as an import of its own that binds no usable name.
            bound.append((alias.name.partition(".")[0], Import(alias.name.partition(".")[0])))
            if "." in alias.name:
                bound.append((alias.name, Import(alias.name)))
    return bound


def absolute_module(module: str | None, level: int, package: str) -> str:
    """The absolute name of what `from <level dots><module> import` names inside `package`."""
    if level == 0:
        return module or ""
    parts = package.split(".") if package else []
    base = parts[: len(parts) - level + 1]
    return ".".join([*base, *([module] if module else [])])


def chain_of(node: ast.AST) -> Chain | None:
    """The chain of a name or of attributes taken of a name; None for anything else."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else None


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
        for argument in _all_arguments(arguments):
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
        literal = _literal_text(key)
        if chain and literal is not None and chain[0] not in self._hidden:
            self._found.variables.setdefault((chain, literal), key.lineno)

    def _visit_scope(self, node: Function | ast.Lambda | ast.ClassDef) -> None:
        match node:
            case ast.Lambda():
                self.visit_arguments(node.args)
                self._inner(_argument_names(node.args) | _bound_in([node.body])).visit(node.body)
            case ast.ClassDef():
                self.visit_all([*node.decorator_list, *node.bases, *node.keywords])
                # A class body may read the global of a name before it binds its own, and its names are not seen by methods.
                self._inner(_type_parameters(node)).visit_all([*getattr(node, "type_params", []), *node.body])
            case _:
                self._visit_function(node)

    def _visit_function(self, node: Function) -> None:
        self.visit_all(node.decorator_list)
        annotated = self._inner(_type_parameters(node))
        annotated.visit_arguments(node.args)
        for part in [*getattr(node, "type_params", []), *([node.returns] if node.returns else [])]:
            annotated.visit_annotation(part)
        outer = _declared(node.body, ast.Global)
        bound = (_argument_names(node.args) | _bound_in(node.body)) - outer - _declared(node.body, ast.Nonlocal)
        inner = _Scope(self._found, self._package, (self._hidden | _type_parameters(node) | bound) - outer)
        inner.visit_all(node.body)

    def _visit_comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        targets = [generator.target for generator in node.generators]
        self._inner(_bound_in(targets)).visit_all(ast.iter_child_nodes(node))

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
        literal = _literal_text(node.args[1]) if chain else None
        if chain is None or literal is None:
            return False
        self._refer((*chain, literal), node)
        self.visit_all(node.args[2:])
        return True

    def _import_call(self, node: ast.Call, chain: Chain) -> None:
        name = _text_before_computed(node.args[0], self._package) if node.args else None
        if name is None:
            self._found.dynamic.setdefault(f"{'.'.join(chain)}() of a name that is computed", node.lineno)
            return
        level = len(name) - len(name.lstrip("."))
        module = absolute_module(name[level:], level, self._package)
        self._found.loaded.setdefault(module, node.lineno)
        if not module.endswith("*"):
            self._found.executed.append(Import(module))


def _text_before_computed(node: ast.expr, package: str) -> str | None:
    """The name that an expression spells; `models.*` where what comes after `models.` is computed; None for all others."""
    text = ""
    for part in _text_parts(node):
        match part:
            case ast.Constant(value=str(piece)):
                text += piece
            case ast.Name(id="__name__" | "__package__") if not text:
                text = package
            case _:
                return f"{text}*" if text.endswith(".") and text.strip(".") else None
    return text or None


def _text_parts(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.JoinedStr(values=values):
            return [inner for value in values for inner in _text_parts(value)]
        case ast.FormattedValue(value=value):
            return [value]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text_parts(left) + _text_parts(right)
        case _:
            return [node]


def _literal_text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return named + [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]


def _argument_names(arguments: ast.arguments) -> frozenset[str]:
    return frozenset(argument.arg for argument in _all_arguments(arguments))


def _type_parameters(node: ast.AST) -> frozenset[str]:
    return frozenset(parameter.name for parameter in getattr(node, "type_params", []))


def _bound_in(nodes: list[ast.stmt] | list[ast.expr]) -> frozenset[str]:
    """The names that these nodes bind in their own scope; imports are left out, for they are followed."""
    names: set[str] = set()
    for node in _own_scope(list(nodes)):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.MatchMapping(rest=str(name)):
                names.add(name)
            case _:
                pass
    return frozenset(names)


def _declared(body: list[ast.stmt], kind: type[ast.Global] | type[ast.Nonlocal]) -> frozenset[str]:
    return frozenset(name for node in _own_scope(list(body)) if isinstance(node, kind) for name in node.names)


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
