"""Secrets in what a step says: each is replaced wherever its text appears."""

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
# A shorter line of a secret of several (a `}`, say) stands in much that is no secret.
_LINE_CHARACTERS = 8
_URL_SAFE = str.maketrans("+/", "-_")


def spellings(secrets: Sequence[str]) -> list[str]:
    """`secrets` as they are shown: plain, in a `repr`, in JSON, line by line, and in the codes of URLs and headers; the longest first,
    since one may be in another."""
    found = {text for secret in secrets for text in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1])}
    found |= {line for secret in secrets for line in secret.splitlines() if len(line) >= _LINE_CHARACTERS}
    found |= {text for secret in secrets for text in _encoded(secret) if len(text) >= _LINE_CHARACTERS}
    return sorted(filter(None, found), key=lambda text: (-len(text), text))


def _encoded(secret: str) -> Iterator[str]:
    """In a URL, in hexadecimal, and in base64 wherever it stands in what was encoded."""
    data = secret.encode(errors="surrogateescape")
    for text in (quote(data, safe=""), quote(data), quote_plus(data)):
        if text != secret:
            yield text
            yield _lowered(text)
    yield data.hex()
    yield data.hex().upper()
    for before in range(3):
        code = base64.b64encode(bytes(before) + data)
        # The characters at both ends are also of what stands beside it.
        core = code[(0, 2, 3)[before] : (before + len(data)) * 8 // 6].decode()
        yield core
        yield core.translate(_URL_SAFE)


def _lowered(quoted: str) -> str:
    """With the other spelling of `%2F`."""
    first, *others = quoted.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in others)])


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
