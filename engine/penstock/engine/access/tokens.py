"""API tokens as text: `pst_<id>_<secret><checksum>`. The secret has 256 random bits, so one fast digest of the whole is kept of it.

The prefix lets scanners of repositories find a token that was left somewhere; the checksum tells a typing error from one without asking.
"""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field

PREFIX = "pst_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 12
_SECRET_LENGTH = 43
"""Of digits to the base 62: more than 2**256 values."""
_CHECKSUM_LENGTH = 6
_SHAPE = re.compile(rf"pst_([0-9A-Za-z]{{{_ID_LENGTH}}})_[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class MadeToken:
    """`text` is for its holder alone; `digest` is what is kept."""

    token_id: str
    text: str = field(repr=False)
    digest: str


def make_token_text() -> MadeToken:
    """A token that nobody else has."""
    token_id = _in_base_62(secrets.randbelow(62**_ID_LENGTH), _ID_LENGTH)
    body = f"{PREFIX}{token_id}_{_in_base_62(secrets.randbits(256), _SECRET_LENGTH)}"
    text = body + _checksum(body)
    return MadeToken(token_id, text, digest_of_token(text))


def id_of_token(text: str) -> str | None:
    """The id in a token's text; None: it can't be a token."""
    found = _SHAPE.fullmatch(text)
    if found is None or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        return None
    return found[1]


def digest_of_token(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(body: str) -> str:
    return _in_base_62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _in_base_62(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
