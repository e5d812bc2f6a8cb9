"""What the text of a CEL expression shows before anything is evaluated: which loops it has, what they bind, whether one is in another.

The library does not say where a loop (`map`, `filter`, `all`, `exists`, `exists_one`) ends, so the text is read token by token. A
mistake here is on the safe side: what is bound where the library sees no loop is unknown to it; what it sees besides is refused as unknown.
"""

import re
from dataclasses import dataclass

LOOPS = frozenset({"map", "filter", "all", "exists", "exists_one", "existsOne"})
_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<text>(?P<raw>[bB]?[rR])(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\r\n]*"|'[^'\r\n]*')
      |[bB]?(?:\"{3}(?:\\[\s\S]|[\s\S])*?\"{3}|'{3}(?:\\[\s\S]|[\s\S])*?'{3}|"(?:\\.|[^"\\\r\n])*"|'(?:\\.|[^'\\\r\n])*'))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>\d[A-Za-z0-9_.]*|\.\d[A-Za-z0-9_]*)
  | (?P<mark>[\s\S])
    """,
    re.VERBOSE,
)
_CLOSES = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A loop: the variable that it binds, and the names that its body has besides."""

    kind: str
    variable: str
    names: frozenset[str]


@dataclass(slots=True)
class _Open:
    mark: str
    loop: str | None
    names: list[str]
    """Of everything inside, the bound variable first."""


class Nested(ValueError):
    """A loop in a loop: what it costs grows with a power of what the event holds."""


def tokens_of(text: str) -> list[Token]:
    """The tokens, without spaces and comments."""
    found = (
        Token(match.lastgroup if match.lastgroup != "raw" else "text", match.group()) for match in _TOKEN.finditer(text) if match.lastgroup
    )
    return [token for token in found if token.kind != "space"]


def loops_in(text: str) -> list[Loop]:
    """Every loop of the expression, in the order in which they end.

    :raises Nested: a loop is inside of another one's parentheses.
    :raises ValueError: brackets that don't fit together.
    """
    tokens = tokens_of(text)
    stack: list[_Open] = []
    loops: list[Loop] = []
    for place, token in enumerate(tokens):
        if token.kind == "name":
            _note(stack, tokens, place)
        elif token.text in "([{":
            loop = _loop_before(tokens, place)
            if loop and any(opened.loop for opened in stack):
                raise Nested(loop)
            stack.append(_Open(token.text, loop, []))
        elif token.text in _CLOSES:
            _close(stack, token.text, loops)
    if stack:
        raise ValueError(f"{stack[-1].mark!r} is not closed")
    return loops


def _note(stack: list[_Open], tokens: list[Token], place: int) -> None:
    is_field = place > 0 and tokens[place - 1].text == "."
    for opened in stack:
        if opened.loop and not is_field:
            opened.names.append(tokens[place].text)


def _loop_before(tokens: list[Token], place: int) -> str | None:
    if tokens[place].text != "(" or place < 2:
        return None
    point, name = tokens[place - 2], tokens[place - 1]
    return name.text if point.text == "." and name.kind == "name" and name.text in LOOPS else None


def _close(stack: list[_Open], mark: str, loops: list[Loop]) -> None:
    if not stack or stack[-1].mark != _CLOSES[mark]:
        raise ValueError(f"{mark!r} closes nothing")
    opened = stack.pop()
    if opened.loop and opened.names:
        variable = opened.names[0]
        loops.append(Loop(kind=opened.loop, variable=variable, names=frozenset(opened.names) - {variable}))
