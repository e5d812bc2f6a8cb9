"""The nearest name that exists, for the text of errors."""

from collections.abc import Sequence
from difflib import get_close_matches


def nearest_hint(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'train'?`, or what there is."""
    near = get_close_matches(name, known, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there is {', '.join(known)}" if known else ""
