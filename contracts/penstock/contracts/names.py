"""Names and ids: who may be called what, and which kind of id is which."""

import hashlib
import re
from typing import NewType

from penstock.contracts.errors import InvalidInput

Workspace = NewType("Workspace", str)
RunId = NewType("RunId", str)
"""A run's public id, made by whoever asks for the run: UUIDv7 as 26 characters of Crockford base32, lower case."""
RunNo = NewType("RunNo", int)
Digest = NewType("Digest", str)
"""`sha256:<hex>`, the OCI spelling: the algorithm is part of a digest."""

DOCUMENT_SUFFIXES = (".yaml", ".yml")
"""Files so named hold a pipeline as a YAML document."""
DEFAULT_WORKSPACE = Workspace("default")
PYTHON = "python"
"""As the first word of a command: the interpreter of the environment that the step runs in."""
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,80}")


def run_id_at(milliseconds: int, random: bytes) -> RunId:
    """The id of a run that is asked for at that time; `random` are ten bytes by chance."""
    number = int.from_bytes(random)
    number = (milliseconds << 80) | (0x7 << 76) | ((number >> 68 & 0xFFF) << 64) | (0b10 << 62) | (number & ((1 << 62) - 1))
    return RunId("".join(_BASE32[number >> shift & 31] for shift in range(125, -1, -5)))


def dashed(python_name: str) -> str:
    """The name in runs, routes and tables of something that Python calls `python_name`: `Train_Model` is `train_model`."""
    return re.sub(r"[^a-z0-9_-]+", "-", python_name.lower()).strip("-_") or "unnamed"


def checked_name(name: str, what: str) -> str:
    """`name`, if it can stand in routing keys, file names and tables.

    :raises InvalidInput: naming `what` and the rule.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{what} {name!r}: a name starts with a letter or digit and holds a-z, 0-9, '_' and '-' only, 63 at most")
    return name


def routing_word(name: str) -> str:
    """`name` as one word of a routing key, which has no dots: itself where it can be, else a word that no other name becomes."""
    if _WORD.fullmatch(name):
        return name
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def lane_of(pipeline: str, step: str) -> str:
    """What the lane of a served step is called wherever a pool's name can stand; no pool's name holds a slash."""
    return f"{pipeline}/{step}"
