"""Syntax trees as bytes that mean the code: the same on every Python version, whatever the formatting.

Positions, comments, docstrings, parentheses and the spelling of literals are not in them. The walk is our own, because
the standard dumps of one tree differ between Python versions. Standard library alone, so that any interpreter can run it.
"""

import ast
import hashlib
import struct
from collections.abc import Mapping
from typing import cast

ENCODING_VERSION = 1

NEUTRAL_NAME = "·"
"""Stands for the name of a step's own function, which is not part of its code."""

# Positions, and what follows from the place of a node or serves type checkers alone.
_LEFT_OUT = frozenset({"ctx", "type_comment", "type_ignores", "kind"})


def syntax_digest(*nodes: ast.AST, renamed: Mapping[str, str] | None = None, neutral: ast.AST | None = None) -> str:
    """`sha256:<hex>` of the nodes' encoding; names are `renamed` first, and the definition `neutral` has `NEUTRAL_NAME`."""
    data = b"".join(encode_syntax(node, renamed=renamed, neutral=neutral) for node in nodes)
    return "sha256:" + hashlib.sha256(b"syntax %d\n" % ENCODING_VERSION + data).hexdigest()


def encode_syntax(node: ast.AST, *, renamed: Mapping[str, str] | None = None, neutral: ast.AST | None = None) -> bytes:
    """The bytes of a tree. Equal trees (but for what is left out) give equal bytes, others differ."""
    out = bytearray()
    _Encoder(out, renamed or {}, _place(neutral)).node(node)
    return bytes(out)


class _Encoder:
    def __init__(self, out: bytearray, renamed: Mapping[str, str], neutral: tuple[object, ...]) -> None:
        self._out = out
        self._renamed = renamed
        self._neutral = neutral

    def node(self, node: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr):
            self._joined(node)
            return
        self._out += b"(" + type(node).__name__.encode()
        for name, value in sorted(ast.iter_fields(node)):
            if name in _LEFT_OUT or (value is None and not isinstance(node, ast.Constant)) or value == []:
                # A field that is empty counts as absent: newer versions add fields, and they are empty in older code.
                continue
            self._out += b" " + name.encode() + b"="
            self._field(node, name, value)
        self._out += b")"

    def _field(self, node: ast.AST, name: str, value: object) -> None:
        if isinstance(value, list):
            values = cast("list[object]", value)
            self._list(without_docstring(node, values) if name == "body" else values)
        elif isinstance(value, str) and name == "id":
            self._constant(self._renamed.get(value, value))
        elif name == "name" and _place(node) == self._neutral:
            self._constant(NEUTRAL_NAME)
        else:
            self._value(value)

    def _list(self, values: list[object]) -> None:
        self._out += b"["
        for value in values:
            self._value(value)
        self._out += b"]"

    def _value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.node(value)
        else:
            self._constant(value)

    def _constant(self, value: object) -> None:
        tag, data = _constant_bytes(value)
        self._out += tag + str(len(data)).encode() + b":" + data

    def _joined(self, node: ast.JoinedStr) -> None:
        # Versions differ in where they cut the text of an f-string, and in whether an empty piece is kept.
        self._out += b"(JoinedStr"
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                text += part.value
                continue
            if text:
                self._constant(text)
                text = ""
            self.node(part)
        if text:
            self._constant(text)
        self._out += b")"


def without_docstring(owner: ast.AST, body: list[object]) -> list[object]:
    """A body without its docstring."""
    if not isinstance(owner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not body:
        return body
    match body[0]:
        case ast.Expr(value=ast.Constant(value=str())):
            # What is left may be empty, as `pass` alone would be.
            return body[1:] or [ast.Pass()]
        case _:
            return body


def _place(node: ast.AST | None) -> tuple[object, ...]:
    return () if node is None else (type(node), getattr(node, "lineno", 0), getattr(node, "col_offset", 0))


def _constant_bytes(value: object) -> tuple[bytes, bytes]:
    if value is ...:
        return b"c", b"..."
    match value:
        case None | bool():
            return b"c", repr(value).encode()
        case int():
            # Not decimal: its length is limited by the interpreter.
            return b"i", format(value, "x").encode()
        case float():
            return b"f", struct.pack(">d", value)
        case complex():
            return b"j", struct.pack(">dd", value.real, value.imag)
        case str():
            return b"s", value.encode("utf-8", "surrogatepass")
        case bytes():
            return b"b", value
        case _:
            raise TypeError(f"a syntax tree does not hold a {type(value).__name__}")


def text_digest(text: str) -> str:
    """`sha256:<hex>` of text."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
