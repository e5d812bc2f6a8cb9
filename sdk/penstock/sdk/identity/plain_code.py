"""Which code does nothing but define: known decorators, classes without hooks, constants, and what only a main program runs.

Standard library alone.
"""

import ast

from penstock.sdk.identity.imports import chain_of
from penstock.sdk.identity.scopes import Function

SDK = "penstock.sdk"
STEP = f"{SDK}:step"
PIPELINE = f"{SDK}:pipeline"

# Decorators that do nothing but what their function's code says: they register it nowhere.
_PLAIN_BY_MODULE = {
    "": "staticmethod classmethod property",
    "abc": "abstractmethod",
    "attr": "s attrs define frozen mutable",
    "attrs": "define frozen mutable",
    "contextlib": "contextmanager asynccontextmanager",
    "dataclasses": "dataclass",
    "enum": "unique verify",
    "functools": "cache lru_cache wraps cached_property total_ordering singledispatch",
    "jax": "jit",
    "numba": "jit njit vectorize",
    "pydantic": "validate_call",
    "pydantic.dataclasses": "dataclass",
    "torch": "no_grad inference_mode compile",
    "typing": "overload final override no_type_check runtime_checkable dataclass_transform",
    "typing_extensions": "overload final override deprecated runtime_checkable",
    "warnings": "deprecated",
}
PLAIN_DECORATORS = frozenset(f"{module}:{name}".lstrip(":") for module, names in _PLAIN_BY_MODULE.items() for name in names.split())
_PLAIN_METACLASSES = frozenset({"ABCMeta", "EnumMeta", "EnumType", "type"})


def asks_main(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
        case ast.BoolOp(op=ast.And(), values=values):
            return any(asks_main(value) for value in values)
        case ast.Compare(left=ast.Constant(value="__main__"), ops=[ast.Eq()], comparators=[ast.Name(id="__name__")]):
            return True
        case _:
            return False


def acts_at_definition(node: Function | ast.ClassDef) -> bool:
    """Whether a class does more than define itself: its keywords go to `__init_subclass__` or a metaclass, its body calls something."""
    if not isinstance(node, ast.ClassDef):
        return False
    calls = any(isinstance(part, ast.Expr) and not isinstance(part.value, ast.Constant) for part in node.body)
    return calls or not all(_is_plain_keyword(keyword) for keyword in node.keywords)


def _is_plain_keyword(keyword: ast.keyword) -> bool:
    if keyword.arg == "metaclass":
        return (chain_of(keyword.value) or ("",))[-1] in _PLAIN_METACLASSES
    return keyword.arg in ("total", "frozen", "slots", "kw_only", "boundary")


def is_constant(node: ast.expr) -> bool:
    """Whether a value is made of constants alone."""
    match node:
        case ast.Constant():
            return True
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return all(is_constant(part) for part in parts)
        case ast.Dict(keys=keys, values=values):
            return all(key is not None and is_constant(key) for key in keys) and all(is_constant(value) for value in values)
        case ast.UnaryOp(operand=operand):
            return is_constant(operand)
        case ast.BinOp(left=left, right=right):
            return is_constant(left) and is_constant(right)
        case _:
            return False
