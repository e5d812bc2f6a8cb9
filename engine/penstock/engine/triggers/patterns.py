"""Regular expressions in CEL. The library matches them in time that grows with the text alone, times the pattern's size: that is bounded.

So a pattern is written out: whoever sends an event must not choose it.
"""

import re

from penstock.engine.triggers.syntax import Token, tokens_of

SIZE_LIMIT = 4000
"""Characters, with repetitions written out."""
_COUNTED = re.compile(r"\{(\d+)(,(\d*))?\}")
_OF_MANY = frozenset("wWdDsSpPbB")
"""Classes of which the library makes a hundred characters and more."""


def check_patterns(text: str) -> None:
    """:raises ValueError: a pattern of the expression is not written out, or too large."""
    tokens = tokens_of(text)
    for place, token in enumerate(tokens):
        if token.kind != "name" or token.text != "matches" or [one.text for one in tokens[place + 1 : place + 2]] != ["("]:
            continue
        pattern = _pattern(tokens, place)
        if pattern is None:
            raise ValueError("`matches` wants its pattern written out, as text.matches('[a-z]+')")
        if size_of(pattern) > SIZE_LIMIT:
            raise ValueError(f"the pattern of `matches` is too large: {SIZE_LIMIT} characters at most, with repetitions written out")


def size_of(pattern: str) -> int:
    """About how many characters it has, with counted repetitions written out."""
    sizes, last, place = [0], 0, 0
    while place < len(pattern):
        letter, counted = pattern[place], _COUNTED.match(pattern, place)
        step = 1
        if counted is not None:
            # The last part is in the sum once already.
            times = max(int(counted[1][:9]), int((counted[3] or "0")[:9]))
            sizes[-1] += last * max(times - 1, 0)
            last, step = last * max(times, 1), len(counted[0])
        elif letter == "(":
            sizes.append(0)
        elif letter == ")" and len(sizes) > 1:
            last = sizes.pop() + 1
            sizes[-1] += last
        else:
            last, step = _atom(pattern, place)
            sizes[-1] += last
        place += step
    return sum(sizes)


def _atom(pattern: str, place: int) -> tuple[int, int]:
    """How large the part is that begins there, and how many characters it is written in. A class counts as each of its characters."""
    if pattern[place] == "\\":
        return (100 if pattern[place + 1 : place + 2] in _OF_MANY else 1), 2
    return 1, 1


def _pattern(tokens: list[Token], place: int) -> str | None:
    """The text that is given to the `matches` at that place, if it is nothing but a text."""
    import cel  # noqa: PLC0415 -- a third of a second, for who evaluates

    depth, last = 0, place + 1
    for last in range(place + 1, len(tokens)):
        depth += (tokens[last].text in ("(", "[", "{")) - (tokens[last].text in (")", "]", "}"))
        if depth == 0:
            break
    given = tokens[last - 1]
    if given.kind != "text" or tokens[last - 2].text not in ("(", ","):
        return None
    found: object = cel.evaluate(given.text)
    return found if isinstance(found, str) else None
