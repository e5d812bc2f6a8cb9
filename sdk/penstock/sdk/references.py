"""What a piece of code refers to: the global names it loads with the attributes taken of them, and its own imports.

Scopes are followed as Python follows them, so a local variable that is named as a function is no use of that function.
Standard library alone.
"""

import ast
from dataclasses import dataclass, field

Chain = tuple[str, ...]
"""A name and the attributes taken of it: `helpers.sub.clean` is ("helpers", "sub", "clean")."""

_DYNAMIC = frozenset({"globals", "eval", "exec", "__import__"})


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
    dynamic: dict[str, int] = field(default_factory=dict[str, int])
    """What can reach any name of the module, such as `globals()`."""
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


class _Scope(ast.NodeVisitor):
    """Visits one scope; nested scopes are visited by others that know which names are hidden from the top level."""

    def __init__(self, found: References, package: str, hidden: frozenset[str]) -> None:
        self._found = found
        self._package = package
        self._hidden = hidden

    def visit_Name(self, node: ast.Name) -> None:
        self._refer((node.id,), node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = chain_of(node)
        if chain is None:
            self.visit(node.value)
        else:
            self._refer(chain, node)

    def visit_Global(self, node: ast.Global) -> None:
        for name in node.names:
            self._found.chains.setdefault((name,), node.lineno)

    def visit_Import(self, node: ast.Import) -> None:
        self._import(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._import(node)

    def visit_Call(self, node: ast.Call) -> None:
        chain = chain_of(node.func) or ()
        literal = _literal_text(node.args[0]) if node.args else None
        if chain[-1:] == ("import_module",) or chain == ("__import__",):
            self._import_call(node, chain, literal)
        elif len(chain) == 1 and chain[0] in _DYNAMIC and chain[0] not in self._hidden:
            self._found.dynamic.setdefault(f"{chain[0]}()", node.lineno)
        elif chain[-1:] in (("get",), ("getenv",), ("pop",), ("setdefault",)) and literal is not None and chain[0] not in self._hidden:
            self._found.variables.setdefault((chain, literal), node.lineno)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        chain, literal = chain_of(node.value), _literal_text(node.slice)
        if chain and literal is not None and isinstance(node.ctx, ast.Load) and chain[0] not in self._hidden:
            self._found.variables.setdefault((chain, literal), node.lineno)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._arguments(node.args)
        self._inner(_argument_names(node.args) | _bound_in([node.body])).visit(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in [*node.decorator_list, *node.bases, *node.keywords]:
            self.visit(part)
        # A class body may read the global of a name before it binds its own, and its names are not seen by methods.
        inner = self._inner(_type_parameters(node))
        for part in [*getattr(node, "type_params", []), *node.body]:
            inner.visit(part)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.visit(node.generators[0].iter)
        targets = [generator.target for generator in node.generators]
        self._inner(_bound_in(targets)).generic_visit(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        annotated = self._inner(_type_parameters(node))
        annotated._arguments(node.args)
        for parameter in [*getattr(node, "type_params", []), node.returns]:
            if parameter is not None:
                annotated._annotation(parameter)
        outer = _declared(node.body, ast.Global)
        bound = (_argument_names(node.args) | _bound_in(node.body)) - outer - _declared(node.body, ast.Nonlocal)
        inner = _Scope(self._found, self._package, (self._hidden | _type_parameters(node) | bound) - outer)
        for statement in node.body:
            inner.visit(statement)

    def _arguments(self, arguments: ast.arguments) -> None:
        for default in [*arguments.defaults, *arguments.kw_defaults]:
            if default is not None:
                self.visit(default)
        for argument in _all_arguments(arguments):
            if argument.annotation is not None:
                self._annotation(argument.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def _annotation(self, node: ast.AST) -> None:
        """An annotation may be written as text; what it names is then in that text."""
        self.visit(node)
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                try:
                    quoted = ast.parse(part.value.strip(), mode="eval")
                except (SyntaxError, ValueError):
                    continue
                self.visit(ast.fix_missing_locations(ast.copy_location(quoted.body, part)))

    def _inner(self, names: frozenset[str]) -> "_Scope":
        return _Scope(self._found, self._package, self._hidden | names)

    def _refer(self, chain: Chain, node: ast.expr) -> None:
        if chain[0] not in self._hidden:
            self._found.chains.setdefault(chain, node.lineno)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, target in imports_of(node, self._package):
            self._found.imports.setdefault(name, []).append(target)
            self._found.executed.append(target)

    def _import_call(self, node: ast.Call, chain: Chain, literal: str | None) -> None:
        if literal is not None and not literal.startswith("."):
            # What is done with the module it returns can't be followed: all of its names count.
            self._found.executed.append(Import(literal, "*"))
        else:
            self._found.dynamic.setdefault(f"{'.'.join(chain)}() of a name that is computed", node.lineno)


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


_INNER_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _own_scope(nodes: list[ast.AST]) -> list[ast.AST]:
    """The nodes and all below them that belong to the same scope; an inner scope itself, not what is in it."""
    own: list[ast.AST] = []
    waiting = nodes
    while waiting:
        node = waiting.pop()
        own.append(node)
        if isinstance(node, _COMPREHENSIONS):
            # A walrus inside binds in the scope around; the loop variables don't.
            own += [part.target for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
        elif not isinstance(node, _INNER_SCOPES):
            waiting += ast.iter_child_nodes(node)
    return own
