"""What the text of a CEL expression shows before anything is evaluated: which loops it has, what they bind, whether one is in another.

The library does not say where a loop (`map`, `filter`, `all`, `exists`, `exists_one`) ends, so the text is read token by token. A
mistake here is on the safe side: what is bound where the library sees no loop is unknown to it; what it sees besides is refused as unknown.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

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
    start: int
    """Where it begins in the whole text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A loop: the variable that it binds, how often its body reads that, and the other names in its body, as often as they are there."""

    kind: str
    variable: str
    reads: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLoop:
    """`<over>.<kind>(<variable>, <parts>)`."""

    kind: str
    over: str
    variable: str
    parts: tuple[str, ...]


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
    found = (Token(_kind(match), match.group(), match.start()) for match in _TOKEN.finditer(text))
    return [token for token in found if token.kind != "space"]


def last_loop(text: str) -> LastLoop | None:
    """The loop that a valid expression as a whole is, if it is a `map` or `filter`."""
    tokens = tokens_of(text)
    opening = _opening_of_last(tokens)
    if opening is None or _loop_before(tokens, opening) not in ("map", "filter") or not _is_one_operand(tokens[: opening - 2]):
        return None
    variable, *parts = _arguments(text, tokens, opening)
    return LastLoop(kind=tokens[opening - 1].text, over=text[: tokens[opening - 2].start], variable=variable.strip(), parts=tuple(parts))


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
        variable, *body = opened.names
        others = tuple(name for name in body if name != variable)
        loops.append(Loop(kind=opened.loop, variable=variable, reads=len(body) - len(others), names=others))


def _kind(match: re.Match[str]) -> str:
    # The group of a raw text is inside of that of texts, and ends first.
    return "text" if match.lastgroup in (None, "raw") else match.lastgroup or "mark"


def _opening_of_last(tokens: list[Token]) -> int | None:
    """The place of the parenthesis that the last token closes."""
    if not tokens or tokens[-1].text != ")":
        return None
    depth = 0
    for place in range(len(tokens) - 1, -1, -1):
        depth += (tokens[place].text in _CLOSES) - (tokens[place].text in _CLOSES.values())
        if depth == 0:
            return place
    return None


def _is_one_operand(tokens: list[Token]) -> bool:
    """No operator outside of brackets: what is called after it is called on all of it."""
    depth = 0
    for token in tokens:
        depth -= token.text in _CLOSES
        is_fit = token.text in {".", *_CLOSES, *_CLOSES.values()} if token.kind == "mark" else token.text != "in"
        if depth == 0 and not is_fit:
            return False
        depth += token.text in _CLOSES.values()
    return bool(tokens)


def _arguments(text: str, tokens: list[Token], opening: int) -> list[str]:
    """The texts between the commas of the call whose parenthesis is at `opening`; the last token closes it."""
    borders, depth = [opening], 0
    for place in range(opening + 1, len(tokens) - 1):
        depth += (tokens[place].text in _CLOSES.values()) - (tokens[place].text in _CLOSES)
        if depth == 0 and tokens[place].text == ",":
            borders.append(place)
    borders.append(len(tokens) - 1)
    return [text[tokens[one].start + 1 : tokens[next_one].start] for one, next_one in pairwise(borders)]
