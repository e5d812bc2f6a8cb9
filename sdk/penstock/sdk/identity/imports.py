"""What import statements bind, and what names and texts spell. Standard library alone."""

import ast
from dataclasses import dataclass

Chain = tuple[str, ...]
"""A name and the attributes taken of it: `helpers.sub.clean` is ("helpers", "sub", "clean")."""


@dataclass(frozen=True)
class Import:
    """A name bound by an import: a module (`name` None), or a name in a module; `*` is all of its names."""

    module: str
    name: str | None = None

    @property
    def target(self) -> str:
        return self.module if self.name is None else f"{self.module}:{self.name}"


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


def text_before_computed(node: ast.expr, package: str) -> str | None:
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


def literal_text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
