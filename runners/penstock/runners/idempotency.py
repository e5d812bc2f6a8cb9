"""The key by which services outside know a step run: the same for every attempt of it, and for nothing else."""

import hashlib
import json
from collections.abc import Sequence


def idempotency_key(run_id: str, step: str, index: Sequence[int]) -> str:
    """32 hexadecimal digits."""
    return hashlib.sha256(json.dumps([run_id, step, list(index)]).encode()).hexdigest()[:32]
