"""Secrets in what a step says: each is replaced wherever its text appears."""

import json
from collections.abc import Sequence
from typing import Any

MASK = "***"
# A shorter line of a secret of several (a `}`, say) stands in much that is no secret.
_LINE_CHARACTERS = 8


def spellings(secrets: Sequence[str]) -> list[str]:
    """`secrets` as they are shown: plain, in a `repr`, in JSON, and line by line; the longest first, since one may be in another."""
    found = {text for secret in secrets for text in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1])}
    found |= {line for secret in secrets for line in secret.splitlines() if len(line) >= _LINE_CHARACTERS}
    return sorted(filter(None, found), key=lambda text: (-len(text), text))


def masked(said: Any, shown: Sequence[str]) -> Any:
    """Plain data none of whose texts holds one of `shown`. Bytes stay: they are data."""
    match said:
        case str():
            for text in shown:
                said = said.replace(text, MASK)
            return said
        case {**parts}:
            return {masked(name, shown): masked(value, shown) for name, value in parts.items()}
        case [*items]:
            return [masked(item, shown) for item in items]
        case _:
            return said
